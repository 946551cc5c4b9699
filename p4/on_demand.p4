// A bucket without a slot: the controller is asked, with the packet, to assign it [D7]. Each vserver says how many packets
// it may send in a time slot of 16.384 ms; 0, and it asks never.

control OnDemand(in headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    // The current time slot, modulo 2^16, and how many packets of it were sent.
    @id(0x16000001)
    register<bit<32>>(PACKET_IN_LIMITS) packet_in_rate;

    apply {
        if (meta.schedule.packet_in_limit == 0 || hdr.packet_out.isValid()) {
            // What the controller submitted does not come back to it: that could go on for ever.
            meta.dropped = 1;
            meta.drop_reason = DROP_UNASSIGNED_BUCKET;
        } else {
            bit<32> cell = (bit<32>)meta.schedule.vserver_id & (PACKET_IN_LIMITS - 1);
            bit<16> time_slot = standard_metadata.ingress_global_timestamp[29:14];
            bit<32> rate;
            packet_in_rate.read(rate, cell);
            if (rate[31:16] != time_slot) {
                rate = time_slot ++ 16w0;
            }
            if (rate[15:0] >= meta.schedule.packet_in_limit) {
                meta.dropped = 1;
                meta.drop_reason = DROP_PACKET_IN_LIMIT;
            } else {
                packet_in_rate.write(cell, rate + 1);
                meta.packet_in_reason = PACKET_IN_UNASSIGNED;
                standard_metadata.egress_spec = CPU_PORT;
            }
        }
    }
}
