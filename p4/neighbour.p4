// IPv6 neighbour solicitations for VIPs, answered in the data plane [D8], like ARP. Entries are only where this switch is
// active.

control NeighbourResponder(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata,
                           out bit<1> answered) {
    // RFC 4861, section 7.2.4. Who asks from the unspecified address looks for duplicates and has no address to be
    // told at (RFC 4862, section 5.4): everybody is told. The solicitation's options are not repeated.
    @id(0x0100000d)
    action nd_reply(mac_addr_t mac) {
        hdr.ethernet.dst_addr = hdr.ethernet.src_addr;
        hdr.ipv6.dst_addr = hdr.ipv6.src_addr;
        hdr.icmpv6.rest = ND_FLAG_SOLICITED | ND_FLAG_OVERRIDE;
        if (hdr.ipv6.src_addr == IPV6_UNSPECIFIED) {
            hdr.ethernet.dst_addr = IPV6_ALL_NODES_MAC;
            hdr.ipv6.dst_addr = IPV6_ALL_NODES;
            hdr.icmpv6.rest = ND_FLAG_OVERRIDE;
        }
        hdr.ethernet.src_addr = mac;
        hdr.ipv6.src_addr = hdr.nd.target_addr;
        hdr.ipv6.payload_length = ND_ADVERTISEMENT_LENGTH;
        hdr.icmpv6.type = ICMPV6_NEIGHBOUR_ADVERTISEMENT;
        hdr.nd_options.setInvalid();
        hdr.nd_link_address.setValid();
        hdr.nd_link_address.type = ND_TARGET_LINK_ADDRESS;
        hdr.nd_link_address.length = 1;
        hdr.nd_link_address.mac = mac;
        meta.is_advertisement = 1;
        standard_metadata.egress_spec = standard_metadata.ingress_port;
    }

    @id(0x0200000a)
    table nd {
        key = {
            meta.vlan_id       : exact @name("vlan_id");
            hdr.nd.target_addr : exact @name("target_addr");
        }
        actions = { nd_reply; @defaultonly NoAction; }
        const default_action = NoAction();
        size = ND_TABLE_SIZE;
    }

    apply {
        answered = 0;
        if (hdr.nd_options.isValid()) {
            if (nd.apply().hit) {
                answered = 1;
            }
        }
    }
}
