// Egress clones, with and without a field list, of packets that are edited, sent, replicated, dropped or clones already.
#include "ethernet.p4"

header tag_h {
    bit<16> port;
    bit<16> instance;
    bit<16> instance_type;
    bit<16> length;
    bit<16> kept;
    bit<16> lost;
    bit<16> ingress_port;
    bit<16> times;
    bit<16> seen_check;
    bit<16> check;
}

struct headers_t {
    ethernet_h ethernet;
    tag_h      tag;
}

struct metadata_t {
    @field_list(1)
    bit<16> kept;
    bit<16> lost;
}

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        meta.kept = 1;
        meta.lost = 9;
        standard_metadata.egress_spec = 2;
        if (hdr.ethernet.src_addr[47:40] == 6) {
            standard_metadata.mcast_grp = 5;
        }
        if (hdr.ethernet.dst_addr[7:0] == 6) {
            clone_preserving_field_list(CloneType.I2E, 6, 1);
        }
    }
}

control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (!hdr.tag.isValid()) {
            hdr.tag.setValid();
        }
        hdr.tag.port = (bit<16>)standard_metadata.egress_port;
        hdr.tag.instance = standard_metadata.egress_rid;
        hdr.tag.instance_type = (bit<16>)standard_metadata.instance_type;
        hdr.tag.length = (bit<16>)standard_metadata.packet_length;
        hdr.tag.kept = meta.kept;
        hdr.tag.lost = meta.lost;
        hdr.tag.ingress_port = (bit<16>)standard_metadata.ingress_port;
        hdr.tag.times = hdr.tag.times + 1;
        hdr.tag.seen_check = hdr.tag.check;
        if (hdr.ethernet.dst_addr[7:0] == 5) {
            clone(CloneType.E2E, (bit<32>)hdr.ethernet.ether_type);  // and clones of clones, without end
        } else if (standard_metadata.instance_type != 2) {
            if (hdr.ethernet.dst_addr[7:0] == 1) {
                clone(CloneType.E2E, (bit<32>)hdr.ethernet.ether_type);
            } else if (hdr.ethernet.dst_addr[7:0] == 2) {
                clone_preserving_field_list(CloneType.E2E, (bit<32>)hdr.ethernet.ether_type, 1);
            } else if (hdr.ethernet.dst_addr[7:0] == 3) {
                clone(CloneType.E2E, 6);
                clone_preserving_field_list(CloneType.E2E, 5, 1);
            } else if (hdr.ethernet.dst_addr[7:0] == 6) {
                clone_preserving_field_list(CloneType.E2E, 5, 1);
            }
            meta.kept = meta.kept + hdr.ethernet.src_addr[15:0];
            if (hdr.ethernet.src_addr[47:40] == 4) {
                mark_to_drop(standard_metadata);
                exit;
            }
        }
    }
}

control C(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.tag.isValid(), { hdr.tag.port, hdr.tag.times }, hdr.tag.check, HashAlgorithm.csum16);
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.tag);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
