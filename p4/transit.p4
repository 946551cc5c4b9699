// The transit filter of split buckets [D6]: which flows began since their bucket was split. A SYN goes to the new slot and
// marks its flow; every other packet goes to the new slot when its flow is marked, else to the old one.

control Transit(in headers_t hdr, inout metadata_t meta, in standard_metadata_t standard_metadata) {
    // A Bloom filter with times instead of bits: when a flow that falls into the cell was last seen, 0: never. In ticks of
    // 2^10 us, modulo 2^32.
    @id(0x16000002)
    register<bit<32>>(TRANSIT_CELLS) transit_first;
    @id(0x16000003)
    register<bit<32>>(TRANSIT_CELLS) transit_second;

    apply {
        // The bucket hash's state is secret and different for every client, so that nobody can aim at cells; the CRCs
        // only bring it down to two indices.
        bit<32> first;
        bit<32> second;
        hash(first, HashAlgorithm.crc16, 32w0,
             { meta.sip.v0, meta.sip.v1, meta.sip.v2, meta.sip.v3, meta.flow.client_port, meta.flow.vip_port },
             (bit<32>)TRANSIT_CELLS);
        hash(second, HashAlgorithm.crc32, 32w0,
             { meta.sip.v0, meta.sip.v1, meta.sip.v2, meta.sip.v3, meta.flow.client_port, meta.flow.vip_port },
             (bit<32>)TRANSIT_CELLS);

        bit<32> now = standard_metadata.ingress_global_timestamp[41:10] + 1;
        bit<1> is_marked = 0;
        if (hdr.tcp.isValid() && hdr.tcp.flags & (TCP_SYN | TCP_ACK) == TCP_SYN) {
            is_marked = 1;
        } else {
            bit<32> first_seen;
            bit<32> second_seen;
            transit_first.read(first_seen, first);
            transit_second.read(second_seen, second);
            if (first_seen != 0 && second_seen != 0 && now - first_seen <= meta.schedule.window
                && now - second_seen <= meta.schedule.window) {
                is_marked = 1;
            }
        }
        if (is_marked == 1) {
            transit_first.write(first, now);
            transit_second.write(second, now);
        } else {
            meta.schedule.slot = meta.schedule.old_slot;
        }
    }
}
