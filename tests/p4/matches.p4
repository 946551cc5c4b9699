// Every match kind, one table each, and tables whose entries the program gives. Each table names its port.
#include "ethernet.p4"

header probe_h {
    bit<8>  table_number;
    bit<8>  a;
    bit<16> b;
    bit<8>  hit;
}

struct headers_t {
    ethernet_h ethernet;
    probe_h    probe;
}

struct metadata_t { }

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            0x1234:  parse_probe;
            default: accept;
        }
    }

    state parse_probe {
        packet.extract(hdr.probe);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    direct_counter(CounterType.packets_and_bytes) exact_counter;

    action send(bit<9> port) {
        standard_metadata.egress_spec = port;
    }

    action drop() {
        mark_to_drop(standard_metadata);
    }

    table exact_match {
        key = { hdr.probe.a : exact; hdr.probe.b : exact; }
        actions = { send; drop; }
        default_action = drop();
        counters = exact_counter;
        support_timeout = true;
        size = 16;
    }

    table lpm_match {
        key = { hdr.probe.a : exact; hdr.probe.b : lpm; }
        actions = { send; drop; }
        default_action = send(100);
        size = 16;
    }

    table ternary_match {
        key = { hdr.probe.a : ternary; hdr.probe.b : ternary; }
        actions = { send; drop; }
        const default_action = drop();
        size = 16;
    }

    table range_match {
        key = { hdr.probe.a : range; hdr.probe.b : ternary; }
        actions = { send; drop; }
        const default_action = drop();
        size = 16;
    }

    table optional_match {
        key = { hdr.probe.a : optional; hdr.probe.b : optional; }
        actions = { send; drop; }
        const default_action = drop();
        size = 16;
    }

    table masked_match {
        key = { hdr.probe.b & 0x0ff0 : exact @name("masked_b"); }
        actions = { send; drop; }
        const default_action = drop();
        size = 16;
    }

    table no_key {
        actions = { send; drop; }
        default_action = drop();
    }

    table const_exact {
        key = { hdr.probe.a : exact; }
        actions = { send; drop; }
        const default_action = drop();
        const entries = {
            1 : send(11);
            2 : send(12);
        }
    }

    table const_ternary {
        key = { hdr.probe.isValid() : exact; hdr.probe.b : ternary; }
        actions = { send; drop; }
        const default_action = drop();
        const entries = {
            (true, 0x1200 &&& 0xff00) : send(21);
            (true, 0x1234)            : send(22);
            (true, _)                 : send(23);
        }
    }

    apply {
        if (hdr.probe.table_number == 0) {
            if (exact_match.apply().hit) {
                hdr.probe.hit = 1;
            }
        } else if (hdr.probe.table_number == 1) {
            if (lpm_match.apply().miss) {
                hdr.probe.hit = 2;
            }
        } else if (hdr.probe.table_number == 2) {
            ternary_match.apply();
        } else if (hdr.probe.table_number == 3) {
            range_match.apply();
        } else if (hdr.probe.table_number == 4) {
            optional_match.apply();
        } else if (hdr.probe.table_number == 5) {
            masked_match.apply();
        } else if (hdr.probe.table_number == 6) {
            no_key.apply();
        } else if (hdr.probe.table_number == 7) {
            const_exact.apply();
        } else {
            const_ternary.apply();
        }
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.probe);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
