// Registers, indirect counters, hashes, digests, the packet's own metadata.
#include "ethernet.p4"

header work_h {
    bit<16> index;
    bit<32> value;
    bit<32> old_value;
    bit<16> crc16;
    bit<32> crc32;
    bit<16> csum16;
    bit<32> identity;
    bit<8>  bounded;
    bit<32> length;
    bit<48> now_us;
    bit<16> port;
}

header tail_h {
    bit<4> a;
    bit<4> b;
}

struct headers_t {
    ethernet_h ethernet;
    work_h     work;
    tail_h     tail;
}

struct metadata_t { }

struct seen_t {
    bit<48> src_addr;
    bit<9>  port;
}

struct value_t {
    bit<32> value;
}

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        packet.extract(hdr.work);
        transition select(hdr.ethernet.ether_type) {
            0x0001:  parse_tail;
            default: accept;
        }
    }

    state parse_tail {
        packet.extract(hdr.tail);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    register<bit<32>>(10) cells;
    counter(10, CounterType.packets_and_bytes) hits;

    apply {
        bit<32> index = (bit<32>)hdr.work.index;

        cells.read(hdr.work.old_value, index);
        cells.write(index, hdr.work.value);
        hits.count(index);
        hash(hdr.work.crc16, HashAlgorithm.crc16, 16w0, { hdr.ethernet.src_addr, hdr.tail.a }, 32w0x10000);
        hash(hdr.work.crc32, HashAlgorithm.crc32, 32w0, { hdr.ethernet.src_addr, hdr.tail.a, 4w1 }, 64w0x100000000);
        hash(hdr.work.csum16, HashAlgorithm.csum16, 16w0, { hdr.ethernet.src_addr }, 32w0x10000);
        hash(hdr.work.identity, HashAlgorithm.identity, 32w0, { hdr.work.value }, 64w0x100000000);
        hash(hdr.work.bounded, HashAlgorithm.crc32, 8w10, { hdr.ethernet.src_addr }, 32w4);
        digest<seen_t>(1, { hdr.ethernet.src_addr, standard_metadata.ingress_port });
        digest<value_t>(1, { hdr.work.value });
        hdr.work.length = standard_metadata.packet_length;
        hdr.work.now_us = standard_metadata.ingress_global_timestamp;
        hdr.work.port = (bit<16>)standard_metadata.ingress_port;
        standard_metadata.egress_spec = standard_metadata.ingress_port;
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.work);
        packet.emit(hdr.tail);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
