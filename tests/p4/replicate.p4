// Multicast, and an egress pipeline that edits each copy and drops some.
#include "ethernet.p4"

header tag_h {
    bit<16> port;
    bit<16> instance;
    bit<16> instance_type;
    bit<16> length;
}

struct headers_t {
    ethernet_h ethernet;
    tag_h      tag;
}

struct metadata_t {
    bit<8> copies;
}

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (hdr.ethernet.dst_addr == 0xffffffffffff) {
            standard_metadata.mcast_grp = hdr.ethernet.ether_type;
        } else if (hdr.ethernet.dst_addr == 0) {
            standard_metadata.mcast_grp = 1;
            mark_to_drop(standard_metadata);
        } else {
            standard_metadata.egress_spec = 7;
        }
    }
}

control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        meta.copies = meta.copies + 1;
        if (standard_metadata.egress_port == standard_metadata.ingress_port) {
            mark_to_drop(standard_metadata);
        } else if (meta.copies != 1) {
            mark_to_drop(standard_metadata);
        } else if (standard_metadata.egress_port > 2) {
            hdr.tag.setValid();
            hdr.tag.port = (bit<16>)standard_metadata.egress_port;
            hdr.tag.instance = standard_metadata.egress_rid;
            hdr.tag.instance_type = (bit<16>)standard_metadata.instance_type;
            hdr.tag.length = (bit<16>)standard_metadata.packet_length;
        }
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.tag);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
