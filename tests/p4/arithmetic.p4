// Every operator: operands in, results out.
#include "ethernet.p4"

header operands_h {
    bit<8>  a;
    bit<8>  b;
    bit<32> wide_a;
    bit<32> wide_b;
}

header results_h {
    bit<8>  sum;
    bit<8>  difference;
    bit<8>  product;
    bit<8>  left;
    bit<8>  right;
    bit<8>  both;
    bit<8>  either;
    bit<8>  one;
    bit<8>  complement;
    bit<8>  negative;
    bit<8>  saturated_sum;
    bit<8>  saturated_difference;
    bit<16> joined;
    bit<4>  high;
    bit<4>  low;
    bit<8>  greater;
    bit<1>  less;
    bit<1>  less_or_equal;
    bit<1>  equal;
    bit<1>  not_equal;
    bit<1>  greater_or_equal;
    bit<1>  a_and_b;
    bit<1>  a_or_b;
    bit<1>  not_a;
    bit<32> rotated;
    bit<32> wide_sum;
    bit<8>  narrowed;
    bit<48> widened;
}

struct headers_t {
    operands_h operands;
    results_h  results;
}

struct metadata_t {
    bool a;
    bool b;
}

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.operands);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        bit<8> a = hdr.operands.a;
        bit<8> b = hdr.operands.b;
        bit<32> w = hdr.operands.wide_a;

        hdr.results.setValid();
        hdr.results.sum = a + b;
        hdr.results.difference = a - b;
        hdr.results.product = a * b;
        hdr.results.left = a << b;
        hdr.results.right = a >> b;
        hdr.results.both = a & b;
        hdr.results.either = a | b;
        hdr.results.one = a ^ b;
        hdr.results.complement = ~a;
        hdr.results.negative = -a;
        hdr.results.saturated_sum = a |+| b;
        hdr.results.saturated_difference = a |-| b;
        hdr.results.joined = a ++ b;
        hdr.results.high = a[7:4];
        hdr.results.low = a[3:0];
        hdr.results.greater = a > b ? a : b;
        hdr.results.less = (bit<1>)(a < b);
        hdr.results.less_or_equal = (bit<1>)(a <= b);
        hdr.results.equal = (bit<1>)(a == b);
        hdr.results.not_equal = (bit<1>)(a != b);
        hdr.results.greater_or_equal = (bit<1>)(a >= b);
        meta.a = a != 0;
        meta.b = b != 0;
        hdr.results.a_and_b = (bit<1>)(meta.a && meta.b);
        hdr.results.a_or_b = (bit<1>)(meta.a || meta.b);
        hdr.results.not_a = (bit<1>)(!meta.a);
        hdr.results.rotated = w[26:0] ++ w[31:27];
        hdr.results.wide_sum = w + hdr.operands.wide_b;
        hdr.results.narrowed = (bit<8>)w;
        hdr.results.widened = (bit<48>)w;
        hdr.operands.setInvalid();
        standard_metadata.egress_spec = standard_metadata.ingress_port;
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.operands);
        packet.emit(hdr.results);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
