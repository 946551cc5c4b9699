// The parser's other abilities: lookahead, advance, verify, masks, headers emitted in another order or not at all,
// checksums verified.
#include "ethernet.p4"

header kind_h {
    bit<4>  kind;
    bit<12> more;
}

header sum_h {
    bit<32> a;
    bit<16> checksum;
}

header report_h {
    bit<8>  error_number;
    bit<8>  checksum_error;
    bit<16> ahead;
}

struct headers_t {
    report_h   report;
    ethernet_h ethernet;
    kind_h     kind;
    kind_h     dropped;
    sum_h      sum;
}

struct metadata_t {
    bit<16> ahead;
}

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            0x0100 &&& 0xff00: parse_kind;
            0x0200:            parse_sum;
            0x0300:            parse_ahead;
            0x0400:            parse_skip;
            0x0500:            parse_dropped;
            default:           accept;
        }
    }

    state parse_kind {
        packet.extract(hdr.kind);
        verify(hdr.kind.kind != 0, error.NoMatch);
        transition select(hdr.kind.kind, hdr.kind.more) {
            (1, 0x010 &&& 0x0f0): parse_sum;
            (2, _):               accept;
            (_, 0xabc):           parse_sum;
        }
    }

    state parse_sum {
        packet.extract(hdr.sum);
        transition accept;
    }

    state parse_ahead {
        meta.ahead = packet.lookahead<bit<16>>();
        transition select(packet.lookahead<bit<4>>()) {
            0xa:     parse_kind;
            default: accept;
        }
    }

    state parse_skip {
        packet.advance(32);
        transition parse_kind;
    }

    state parse_dropped {
        packet.extract(hdr.dropped);
        transition parse_kind;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum(hdr.sum.isValid(), { hdr.sum.a }, hdr.sum.checksum, HashAlgorithm.csum16);
    }
}

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        hdr.report.setValid();
        hdr.report.error_number = 0;
        if (standard_metadata.parser_error == error.PacketTooShort) {
            hdr.report.error_number = 1;
        } else if (standard_metadata.parser_error == error.NoMatch) {
            hdr.report.error_number = 2;
        } else if (standard_metadata.parser_error != error.NoError) {
            hdr.report.error_number = 3;
        }
        hdr.report.checksum_error = (bit<8>)standard_metadata.checksum_error;
        hdr.report.ahead = meta.ahead;
        standard_metadata.egress_spec = 1;
    }
}

control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.report);
        packet.emit(hdr.sum);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.kind);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
