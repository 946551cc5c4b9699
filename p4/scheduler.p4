// Client packet → vserver → bucket → slot → node [D2] [D4] [D5]. Of the packet only the destination MAC is rewritten.

control Scheduler(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    BucketHash() bucket_hash;
    OnDemand() on_demand;
    Transit() transit;

    // Packets and bytes of each bucket; with the idle timeout they are the DLBA's "hits" and "last access".
    @id(0x13000001)
    direct_counter(CounterType.packets_and_bytes) bucket_counter;
    @id(0x13000002)
    direct_counter(CounterType.packets_and_bytes) slot_counter;

    action drop(bit<32> reason) {
        meta.dropped = 1;
        meta.drop_reason = reason;
    }

    @id(0x01000001)
    action set_vserver(vserver_id_t vserver_id, bit<16> bucket_mask, hash_key_kind_t hash_key_kind, bit<64> hash_key,
                       bit<16> packet_in_limit) {
        meta.schedule.vserver_id = vserver_id;
        meta.schedule.bucket_mask = bucket_mask;
        meta.schedule.hash_key_kind = hash_key_kind;
        meta.schedule.hash_key = hash_key;
        meta.schedule.packet_in_limit = packet_in_limit;
    }

    @id(0x01000002)
    action no_vserver() {
        drop(DROP_NO_VSERVER);
    }

    @id(0x02000001)
    table vserver {
        key = {
            meta.flow.vip_v4   : exact @name("dst_addr");
            meta.flow.protocol : exact @name("protocol");
            meta.flow.vip_port : exact @name("dst_port");
        }
        actions = { set_vserver; @defaultonly no_vserver; }
        const default_action = no_vserver();
        size = VSERVER_TABLE_SIZE;
    }

    @id(0x02000009)
    table vserver_v6 {
        key = {
            meta.flow.vip_v6   : exact @name("dst_addr");
            meta.flow.protocol : exact @name("protocol");
            meta.flow.vip_port : exact @name("dst_port");
        }
        actions = { set_vserver; @defaultonly no_vserver; }
        const default_action = no_vserver();
        size = VSERVER_TABLE_SIZE;
    }

    @id(0x01000003)
    action set_slot(slot_t slot) {
        meta.schedule.slot = slot;
    }

    @id(0x0100000e)
    action split_slot(slot_t new_slot, slot_t old_slot, bit<32> window) {
        meta.schedule.slot = new_slot;
        meta.schedule.is_split = 1;
        meta.schedule.old_slot = old_slot;
        meta.schedule.window = window;
    }

    @id(0x01000004)
    action unassigned_bucket() { }

    @id(0x02000002)
    table bucket {
        key = {
            meta.schedule.vserver_id : exact @name("vserver_id");
            meta.schedule.bucket     : exact @name("bucket");
        }
        actions = { set_slot; split_slot; @defaultonly unassigned_bucket; }
        const default_action = unassigned_bucket();
        counters = bucket_counter;
        support_timeout = true;
        size = BUCKET_TABLE_SIZE;
    }

    @id(0x01000005)
    action set_node(node_id_t node_id, mac_addr_t node_mac, port_t port) {
        meta.schedule.node_id = node_id;
        meta.schedule.vip_mac = hdr.ethernet.dst_addr;
        hdr.ethernet.dst_addr = node_mac;
        standard_metadata.egress_spec = port;
    }

    @id(0x01000006)
    action unassigned_slot() {
        drop(DROP_UNASSIGNED_SLOT);
    }

    @id(0x02000003)
    table slot {
        key = { meta.schedule.slot : exact @name("slot"); }
        actions = { set_node; @defaultonly unassigned_slot; }
        const default_action = unassigned_slot();
        counters = slot_counter;
        size = SLOT_TABLE_SIZE;
    }

    apply {
        if (meta.flow.has_ports == 0) {
            if (meta.flow.is_fragment == 1) {
                drop(DROP_FRAGMENT);
            } else {
                drop(DROP_NOT_TCP_OR_UDP);
            }
        } else {
            if (meta.flow.is_ipv6 == 0) {
                vserver.apply();
            } else {
                vserver_v6.apply();
            }
            if (meta.dropped == 0) {
                bucket_hash.apply(meta);
                if (bucket.apply().hit) {
                    if (meta.schedule.is_split == 1) {
                        transit.apply(hdr, meta, standard_metadata);
                    }
                    // A scheduler with one arm: with the client's MAC as source, the LAN's switches would learn the client here.
                    if (slot.apply().hit && standard_metadata.egress_spec == standard_metadata.ingress_port) {
                        hdr.ethernet.src_addr = meta.schedule.vip_mac;
                    }
                } else {
                    on_demand.apply(hdr, meta, standard_metadata);
                }
            }
        }
    }
}
