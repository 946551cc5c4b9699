// Exit, return, switch, conditions inside actions, headers added, removed and copied.
#include "ethernet.p4"

header note_h {
    bit<8> command;
    bit<8> trace;
}

struct headers_t {
    ethernet_h ethernet;
    note_h     note;
    note_h     copy;
}

struct metadata_t { }

parser P(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        packet.extract(hdr.note);
        transition accept;
    }
}

control V(inout headers_t hdr, inout metadata_t meta) { apply { } }
control C(inout headers_t hdr, inout metadata_t meta) { apply { } }

control I(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    action first() {
        hdr.note.trace = hdr.note.trace | 1;
    }

    action second(bit<8> more) {
        if (more == 0) {
            return;
        }
        if (more == 1) {
            hdr.note.trace = hdr.note.trace | 2;
        } else if (more == 2) {
            hdr.note.trace = hdr.note.trace | 4;
            exit;
        } else {
            hdr.note.trace = hdr.note.trace | 8;
        }
        hdr.note.trace = hdr.note.trace | 0x80;
    }

    action third() { }

    table choose {
        key = { hdr.note.command : exact; }
        actions = { first; second; third; }
        default_action = third();
    }

    apply {
        standard_metadata.egress_spec = 1;
        if (hdr.note.command == 0xff) {
            hdr.note.setInvalid();
            hdr.copy.setValid();
            exit;
        }
        switch (choose.apply().action_run) {
            first:  { standard_metadata.egress_spec = 2; }
            second: { standard_metadata.egress_spec = 3; }
            third:  {
                hdr.copy = hdr.note;
                hdr.copy.command = 0x55;
                return;
            }
        }
        hdr.note.trace = hdr.note.trace | 0x40;
    }
}

control E(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (hdr.note.command == 0xfe) {
            exit;
        }
        hdr.ethernet.ether_type = 0x9999;
    }
}

control D(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.note);
        packet.emit(hdr.copy);
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
