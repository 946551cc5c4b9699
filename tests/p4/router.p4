// An IPv4 router: options as varbit, checksums verified and updated, longest prefix, direct counters, parser errors.
#include "ethernet.p4"

header ipv4_h {
    bit<4>       version;
    bit<4>       ihl;
    bit<8>       dscp_ecn;
    bit<16>      total_length;
    bit<16>      identification;
    bit<3>       flags;
    bit<13>      fragment_offset;
    bit<8>       ttl;
    bit<8>       protocol;
    bit<16>      checksum;
    bit<32>      src_addr;
    bit<32>      dst_addr;
    varbit<320>  options;
}

struct headers_t {
    ethernet_h ethernet;
    ipv4_h     ipv4;
}

struct metadata_t { }

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            0x0800:  parse_ipv4;
            default: accept;
        }
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4, (bit<32>)(((bit<16>)(packet.lookahead<bit<8>>()[3:0]) - 5) << 5));
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    direct_counter(CounterType.packets_and_bytes) route_counter;
    counter(4, CounterType.packets_and_bytes) refused;

    action drop() {
        mark_to_drop(standard_metadata);
    }

    action route(bit<48> next_hop, bit<9> port) {
        hdr.ethernet.dst_addr = next_hop;
        hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
        standard_metadata.egress_spec = port;
    }

    table routes {
        key = { hdr.ipv4.dst_addr : lpm; }
        actions = { route; drop; }
        default_action = drop();
        counters = route_counter;
        support_timeout = true;
        size = 64;
    }

    apply {
        if (standard_metadata.parser_error != error.NoError) {
            refused.count(0);
            drop();
        } else if (!hdr.ipv4.isValid() || hdr.ipv4.ttl <= 1) {
            refused.count(1);
            drop();
        } else {
            routes.apply();
        }
    }
}

control C(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.ipv4.isValid() && hdr.ipv4.ihl == 5,
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp_ecn, hdr.ipv4.total_length, hdr.ipv4.identification,
              hdr.ipv4.flags, hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src_addr,
              hdr.ipv4.dst_addr },
            hdr.ipv4.checksum, HashAlgorithm.csum16);
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.ipv4);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
