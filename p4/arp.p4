// ARP for VIPs and for the switch's probe address, answered in the data plane [D8]. Entries are only where this switch
// is active, so a standby scheduler stays silent.

control ArpResponder(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata,
                     out bit<1> answered) {
    @id(0x01000007)
    action arp_reply(mac_addr_t mac) {
        hdr.ethernet.dst_addr = hdr.ethernet.src_addr;
        hdr.ethernet.src_addr = mac;
        hdr.arp.oper = ARP_OPER_REPLY;
        hdr.arp.target_mac = hdr.arp.sender_mac;
        hdr.arp.sender_mac = mac;
        ipv4_addr_t asked_for = hdr.arp.target_addr;
        hdr.arp.target_addr = hdr.arp.sender_addr;
        hdr.arp.sender_addr = asked_for;
        standard_metadata.egress_spec = standard_metadata.ingress_port;
    }

    @id(0x02000004)
    table arp {
        key = {
            meta.vlan_id        : exact @name("vlan_id");
            hdr.arp.target_addr : exact @name("target_addr");
        }
        actions = { arp_reply; @defaultonly NoAction; }
        const default_action = NoAction();
        size = ARP_TABLE_SIZE;
    }

    apply {
        answered = 0;
        if (hdr.arp.oper == ARP_OPER_REQUEST && hdr.arp.htype == ARP_HTYPE_ETHERNET
            && hdr.arp.ptype == ETHERTYPE_IPV4) {
            if (arp.apply().hit) {
                answered = 1;
            }
        }
    }
}
