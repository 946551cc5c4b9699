parser PentaflowParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                       inout standard_metadata_t standard_metadata) {
    state start {
        transition select(standard_metadata.ingress_port) {
            CPU_PORT: parse_packet_out;
            default:  parse_ethernet;
        }
    }

    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_ethernet;
    }

    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            ETHERTYPE_VLAN: parse_vlan;
            ETHERTYPE_ARP:  parse_arp;
            ETHERTYPE_IPV4: parse_ipv4;
            ETHERTYPE_IPV6: parse_ipv6;
            default:        accept;
        }
    }

    state parse_vlan {
        packet.extract(hdr.vlan);
        meta.vlan_id = hdr.vlan.vid;
        transition select(hdr.vlan.ether_type) {
            ETHERTYPE_ARP:  parse_arp;
            ETHERTYPE_IPV4: parse_ipv4;
            ETHERTYPE_IPV6: parse_ipv6;
            default:        accept;
        }
    }

    state parse_arp {
        packet.extract(hdr.arp);
        transition accept;
    }

    // IPv4. Only a whole datagram's transport header is parsed: not that of a fragment, nor behind a header that is
    // none.
    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        meta.flow.client_v4 = hdr.ipv4.src_addr;
        meta.flow.vip_v4 = hdr.ipv4.dst_addr;
        meta.flow.protocol = hdr.ipv4.protocol;
        transition select(hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.more_fragments, hdr.ipv4.fragment_offset) {
            (4, 5, 0, 0):       parse_ipv4_payload;
            (4, 6 .. 15, 0, 0): parse_ipv4_options;
            (_, _, 0, 0):       accept;
            default:            parse_fragment;
        }
    }

    state parse_ipv4_options {
        packet.extract(hdr.ipv4_options, ((bit<32>)hdr.ipv4.ihl - 5) << 5);
        transition parse_ipv4_payload;
    }

    state parse_ipv4_payload {
        transition select(hdr.ipv4.protocol) {
            IP_PROTOCOL_TCP:  parse_tcp;
            IP_PROTOCOL_UDP:  parse_udp;
            IP_PROTOCOL_ICMP: parse_icmp;
            default:          accept;
        }
    }

    state parse_fragment {
        meta.flow.is_fragment = 1;
        transition accept;
    }

    state parse_icmp {
        packet.extract(hdr.icmp);
        transition select(hdr.icmp.type) {
            ICMP_UNREACHABLE:       parse_inner_ipv4;
            ICMP_TIME_EXCEEDED:     parse_inner_ipv4;
            ICMP_PARAMETER_PROBLEM: parse_inner_ipv4;
            default:                accept;
        }
    }

    // An error quotes a packet that a node sent for the VIP: source and destination are those of the other direction.
    // A fragment is quoted with its ports only when it is the first one.
    state parse_inner_ipv4 {
        packet.extract(hdr.inner_ipv4);
        meta.flow.client_v4 = hdr.inner_ipv4.dst_addr;
        meta.flow.vip_v4 = hdr.inner_ipv4.src_addr;
        meta.flow.protocol = hdr.inner_ipv4.protocol;
        transition select(hdr.inner_ipv4.version, hdr.inner_ipv4.ihl, hdr.inner_ipv4.fragment_offset) {
            (4, 5, 0):       parse_inner_ipv4_payload;
            (4, 6 .. 15, 0): parse_inner_ipv4_options;
            default:         accept;
        }
    }

    state parse_inner_ipv4_options {
        packet.extract(hdr.inner_ipv4_options, ((bit<32>)hdr.inner_ipv4.ihl - 5) << 5);
        transition parse_inner_ipv4_payload;
    }

    state parse_inner_ipv4_payload {
        transition select(hdr.inner_ipv4.protocol) {
            IP_PROTOCOL_TCP: parse_inner_ports;
            IP_PROTOCOL_UDP: parse_inner_ports;
            default:         accept;
        }
    }

    state parse_inner_ports {
        packet.extract(hdr.inner_ports);
        meta.flow.has_ports = 1;
        meta.flow.client_port = hdr.inner_ports.dst_port;
        meta.flow.vip_port = hdr.inner_ports.src_port;
        transition accept;
    }

    // IPv6, without extension headers.
    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        meta.flow.is_ipv6 = 1;
        meta.flow.client_v6 = hdr.ipv6.src_addr;
        meta.flow.vip_v6 = hdr.ipv6.dst_addr;
        meta.flow.protocol = hdr.ipv6.next_header;
        transition select(hdr.ipv6.version, hdr.ipv6.next_header) {
            (6, IP_PROTOCOL_TCP):           parse_tcp;
            (6, IP_PROTOCOL_UDP):           parse_udp;
            (6, IP_PROTOCOL_ICMPV6):        parse_icmpv6;
            (6, IP_PROTOCOL_IPV6_FRAGMENT): parse_fragment;
            default:                        accept;
        }
    }

    state parse_icmpv6 {
        packet.extract(hdr.icmpv6);
        transition select(hdr.icmpv6.type, hdr.icmpv6.code, hdr.ipv6.hop_limit, hdr.ipv6.payload_length) {
            (ICMPV6_NEIGHBOUR_SOLICITATION, 0, ND_HOP_LIMIT, ND_SOLICITATION_LENGTH .. 511): parse_solicitation;
            (ICMPV6_UNREACHABLE, _, _, _):       parse_inner_ipv6;
            (ICMPV6_PACKET_TOO_BIG, _, _, _):    parse_inner_ipv6;
            (ICMPV6_TIME_EXCEEDED, _, _, _):     parse_inner_ipv6;
            (ICMPV6_PARAMETER_PROBLEM, _, _, _): parse_inner_ipv6;
            default:                             accept;
        }
    }

    state parse_solicitation {
        packet.extract(hdr.nd);
        packet.extract(hdr.nd_options, ((bit<32>)hdr.ipv6.payload_length - (bit<32>)ND_SOLICITATION_LENGTH) << 3);
        transition accept;
    }

    state parse_inner_ipv6 {
        packet.extract(hdr.inner_ipv6);
        meta.flow.client_v6 = hdr.inner_ipv6.dst_addr;
        meta.flow.vip_v6 = hdr.inner_ipv6.src_addr;
        meta.flow.protocol = hdr.inner_ipv6.next_header;
        transition select(hdr.inner_ipv6.version, hdr.inner_ipv6.next_header) {
            (6, IP_PROTOCOL_TCP): parse_inner_ports;
            (6, IP_PROTOCOL_UDP): parse_inner_ports;
            default:              accept;
        }
    }

    state parse_tcp {
        packet.extract(hdr.tcp);
        meta.flow.has_ports = 1;
        meta.flow.client_port = hdr.tcp.src_port;
        meta.flow.vip_port = hdr.tcp.dst_port;
        transition accept;
    }

    state parse_udp {
        packet.extract(hdr.udp);
        meta.flow.has_ports = 1;
        meta.flow.client_port = hdr.udp.src_port;
        meta.flow.vip_port = hdr.udp.dst_port;
        transition accept;
    }
}

// What the switch may rewrite or add comes first: a target can then send the rest of a packet as it came.
control PentaflowDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv6);
        packet.emit(hdr.icmpv6);
        packet.emit(hdr.nd);
        packet.emit(hdr.nd_options);
        packet.emit(hdr.nd_link_address);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.ipv4_options);
        packet.emit(hdr.icmp);
        packet.emit(hdr.inner_ipv4);
        packet.emit(hdr.inner_ipv4_options);
        packet.emit(hdr.inner_ipv6);
        packet.emit(hdr.inner_ports);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}
