typedef bit<48> mac_addr_t;
typedef bit<32> ipv4_addr_t;
typedef bit<128> ipv6_addr_t;
typedef bit<12> vlan_id_t;
typedef bit<9>  port_t;
typedef bit<16> vserver_id_t;
typedef bit<16> bucket_t;
typedef bit<16> slot_t;
typedef bit<16> node_id_t;

@controller_header("packet_in")
header packet_in_h {
    port_t       ingress_port;
    bit<7>       reason;
    vserver_id_t vserver_id;  // 0 unless the reason is PACKET_IN_UNASSIGNED
    bucket_t     bucket;      // likewise
}

// submit_to_ingress = 0: out of egress_port as it is; 1: through the pipeline as if received from the CPU port.
@controller_header("packet_out")
header packet_out_h {
    port_t egress_port;
    bit<1> submit_to_ingress;
    bit<6> unused_pad;
}

header ethernet_h {
    mac_addr_t dst_addr;
    mac_addr_t src_addr;
    bit<16>    ether_type;
}

header vlan_h {
    bit<3>    pcp;
    bit<1>    dei;
    vlan_id_t vid;
    bit<16>   ether_type;
}

header arp_h {
    bit<16>     htype;
    bit<16>     ptype;
    bit<8>      hlen;
    bit<8>      plen;
    bit<16>     oper;
    mac_addr_t  sender_mac;
    ipv4_addr_t sender_addr;
    mac_addr_t  target_mac;
    ipv4_addr_t target_addr;
}

header ipv4_h {
    bit<4>      version;
    bit<4>      ihl;
    bit<8>      dscp_ecn;
    bit<16>     total_length;
    bit<16>     identification;
    bit<1>      reserved;
    bit<1>      dont_fragment;
    bit<1>      more_fragments;
    bit<13>     fragment_offset;
    bit<8>      ttl;
    bit<8>      protocol;
    bit<16>     checksum;
    ipv4_addr_t src_addr;
    ipv4_addr_t dst_addr;
}

header ipv4_options_h {
    varbit<320> options;
}

header icmp_h {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
    bit<32> rest;
}

header ipv6_h {
    bit<4>      version;
    bit<8>      traffic_class;
    bit<20>     flow_label;
    bit<16>     payload_length;
    bit<8>      next_header;
    bit<8>      hop_limit;
    ipv6_addr_t src_addr;
    ipv6_addr_t dst_addr;
}

// Behind the ICMPv6 header of a neighbour solicitation or advertisement (RFC 4861, sections 4.3 and 4.4).
header nd_h {
    ipv6_addr_t target_addr;
}

header nd_options_h {
    varbit<ND_OPTIONS_MAX_BITS> options;
}

header nd_link_address_h {
    bit<8>     type;
    bit<8>     length;
    mac_addr_t mac;
}

// All of a transport header that an ICMP error is sure to quote (RFC 792: eight bytes) and that is needed.
header ports_h {
    bit<16> src_port;
    bit<16> dst_port;
}

header tcp_h {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> seq;
    bit<32> ack;
    bit<4>  data_offset;
    bit<4>  reserved;
    bit<8>  flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

header udp_h {
    bit<16> src_port;
    bit<16> dst_port;
    bit<16> length;
    bit<16> checksum;
}

struct headers_t {
    packet_in_h    packet_in;
    packet_out_h   packet_out;
    ethernet_h     ethernet;
    vlan_h         vlan;
    arp_h          arp;
    ipv6_h         ipv6;
    icmp_h         icmpv6;
    nd_h           nd;
    nd_options_h   nd_options;
    nd_link_address_h nd_link_address;
    ipv4_h         ipv4;
    ipv4_options_h ipv4_options;
    icmp_h         icmp;
    ipv4_h         inner_ipv4;
    ipv4_options_h inner_ipv4_options;
    ipv6_h         inner_ipv6;
    ports_h        inner_ports;
    tcp_h          tcp;
    udp_h          udp;
}
