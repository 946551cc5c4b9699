// Everything else is an ordinary learning layer-2 switch, each VLAN by itself [D9]. Ports carry all VLANs.

control Learning(in headers_t hdr, inout metadata_t meta, in standard_metadata_t standard_metadata) {
    @id(0x01000008)
    action known() { }

    @id(0x01000009)
    action learn() {
        digest<learn_t>(1, { meta.vlan_id, hdr.ethernet.src_addr, standard_metadata.ingress_port });
    }

    // A station on another port misses, too, and so is learnt anew.
    @id(0x02000005)
    table smac {
        key = {
            meta.vlan_id                   : exact @name("vlan_id");
            hdr.ethernet.src_addr          : exact @name("src_mac");
            standard_metadata.ingress_port : exact @name("ingress_port");
        }
        actions = { known; @defaultonly learn; }
        const default_action = learn();
        support_timeout = true;
        size = STATION_TABLE_SIZE;
    }

    apply {
        if (hdr.ethernet.src_addr[40:40] == 1) {
            meta.dropped = 1;
            meta.drop_reason = DROP_BAD_SOURCE;
        } else {
            smac.apply();
        }
    }
}

control Bridge(in headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(0x0100000a)
    action forward(port_t port) {
        standard_metadata.egress_spec = port;
    }

    @id(0x0100000b)
    action flood_to(bit<16> group) {
        standard_metadata.mcast_grp = group;
    }

    @id(0x02000006)
    table dmac {
        key = {
            meta.vlan_id          : exact @name("vlan_id");
            hdr.ethernet.dst_addr : exact @name("dst_mac");
        }
        actions = { forward; @defaultonly NoAction; }
        const default_action = NoAction();
        size = STATION_TABLE_SIZE;
    }

    @id(0x02000007)
    table flood {
        key = { meta.vlan_id : exact @name("vlan_id"); }
        actions = { flood_to; }
        const default_action = flood_to(DEFAULT_FLOOD_GROUP);
        size = FLOOD_TABLE_SIZE;
    }

    apply {
        if (!dmac.apply().hit) {
            flood.apply();
        } else if (standard_metadata.egress_spec == standard_metadata.ingress_port) {
            meta.dropped = 1;
            meta.drop_reason = DROP_SAME_PORT;
        }
    }
}
