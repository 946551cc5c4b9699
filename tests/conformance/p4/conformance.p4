/* The program of the P4Runtime conformance tests: one table of each kind, and each extern that a client can reach.
 *
 * Packets: from the controller they carry the packet_out header and arrive on the CPU port; what leaves through the CPU
 * port gets the packet_in header. `action` in packet_out says what the pipeline does with the packet.
 */
#include <core.p4>
#include <v1model.p4>

#ifndef NEXT
#define EXACT_SIZE 1024
#define EXACT_TWO_KEY hdr.ipv6.dst
#define EXACT_TWO_DEFAULT 7
#define LONGEST_SIZE 64
#define TERNARY ternary_two
#define FIXED_IPV4 4
#define MIXED_DEFAULT default_action
#define TWO_PARAMETERS bit<9> port, bit<16> value
#define SEEN_CELLS 8
#define LAST_TYPE_CELLS 4
#endif

const bit<9> CPU_PORT = 510;

enum bit<8> Act {
    FORWARD = 0,           // to packet_out.egress_port
    REFLECT = 1,           // back to the controller
    DIGEST = 2,            // learn the source address, drop
    LOOKUP = 3,            // through the tables, then where they say
    MULTICAST = 4,         // to the multicast group numbered by packet_out.egress_port
    CLONE = 5,             // drop, but to the clone session numbered by packet_out.egress_port, with its reason
    CLONE_EGRESS = 6,      // back to the controller; egress changes it and clones it to that session
    CLONE_EGRESS_DROP = 7  // the same, and egress drops the packet
}

@controller_header("packet_out")
header packet_out_t {
    bit<9> egress_port;
    bit<7> pad;
    Act act;
}

@controller_header("packet_in")
header packet_in_t {
    bit<9> ingress_port;
    bit<7> pad;
    bit<16> reason;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header ipv6_t {
    bit<4> version;
    bit<8> traffic_class;
    bit<20> flow_label;
    bit<16> payload_length;
    bit<8> next_header;
    bit<8> hop_limit;
    bit<128> src;
    bit<128> dst;
}

struct headers {
    packet_out_t packet_out;
    packet_in_t packet_in;
    ethernet_t ethernet;
    ipv6_t ipv6;
}

struct metadata {
    @field_list(1)
    bit<16> reason;
    bit<32> egress_session;
    bool dropped;
}

struct learn_t {
    bit<48> src;
    bit<9> port;
}

parser ConformanceParser(
    packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard)
{
    state start {
        transition select(standard.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }
    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_ethernet;
    }
    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x86dd: parse_ipv6;
            default: accept;
        }
    }
    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        transition accept;
    }
}

control NoVerify(inout headers hdr, inout metadata meta) { apply { } }

control ConformanceIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    direct_counter(CounterType.packets_and_bytes) exact_hits;
    counter(SEEN_CELLS, CounterType.packets_and_bytes) seen;
    register<bit<32>>(LAST_TYPE_CELLS) last_type;

    action drop() { mark_to_drop(standard); }
    action forward(bit<9> port) { standard.egress_spec = port; }
    action reason(bit<16> value) { meta.reason = value; }
    action two(TWO_PARAMETERS) { standard.egress_spec = port; meta.reason = value; }

    table exact_one {
        key = { hdr.ethernet.dst: exact; }
        actions = { forward; drop; two; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = exact_hits;
        support_timeout = true;
        size = EXACT_SIZE;
    }
    table exact_two {
        key = { hdr.ethernet.isValid(): exact; EXACT_TWO_KEY: exact; }
        actions = { forward; @tableonly drop; @defaultonly reason; }
        default_action = reason(EXACT_TWO_DEFAULT);
        size = 4;
    }
    table longest {
        key = { hdr.ipv6.dst: lpm; }
        actions = { forward; reason; NoAction; }
        default_action = NoAction();
        size = LONGEST_SIZE;
    }
    table TERNARY {
        key = { hdr.ethernet.type: ternary; hdr.ethernet.src: ternary; }
        actions = { forward; reason; NoAction; }
        default_action = NoAction();
        size = 64;
    }
    table mixed {
        key = { hdr.ethernet.type: range; standard.ingress_port: optional; hdr.ethernet.isValid(): exact; }
        actions = { forward; reason; NoAction; }
        MIXED_DEFAULT = NoAction();
        size = 64;
    }
    table fixed {
        key = { hdr.ethernet.type: exact; }
        actions = { reason; NoAction; }
        const entries = {
            0x0800: reason(FIXED_IPV4);
            0x86dd: reason(6);
        }
        default_action = NoAction();
    }
    table keyless {
        key = { }
        actions = { reason; NoAction; }
        default_action = NoAction();
    }

    apply {
        if (hdr.packet_out.isValid()) {
            if (hdr.packet_out.act == Act.FORWARD) {
                standard.egress_spec = hdr.packet_out.egress_port;
            } else if (hdr.packet_out.act == Act.REFLECT) {
                standard.egress_spec = CPU_PORT;
                meta.reason = 1;
            } else if (hdr.packet_out.act == Act.DIGEST) {
                digest<learn_t>(1, { hdr.ethernet.src, hdr.packet_out.egress_port });
                drop();
            } else if (hdr.packet_out.act == Act.MULTICAST) {
                standard.mcast_grp = (bit<16>) hdr.packet_out.egress_port;
            } else if (hdr.packet_out.act == Act.CLONE) {
                clone_preserving_field_list(CloneType.I2E, (bit<32>) hdr.packet_out.egress_port, 1);
                meta.reason = 5;
                drop();
            } else if (hdr.packet_out.act == Act.CLONE_EGRESS || hdr.packet_out.act == Act.CLONE_EGRESS_DROP) {
                standard.egress_spec = CPU_PORT;
                meta.reason = 6;
                meta.egress_session = (bit<32>) hdr.packet_out.egress_port;
                meta.dropped = hdr.packet_out.act == Act.CLONE_EGRESS_DROP;
            } else {
                drop();
                keyless.apply();
                fixed.apply();
                mixed.apply();
                TERNARY.apply();
                longest.apply();
                exact_two.apply();
                exact_one.apply();
                seen.count((bit<32>) hdr.packet_out.egress_port & 7);
                last_type.write(0, (bit<32>) hdr.ethernet.type);
            }
        } else {
            standard.egress_spec = CPU_PORT;
            meta.reason = 2;
        }
        hdr.packet_out.setInvalid();
    }
}

control ConformanceEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    apply {
        if (standard.egress_port == CPU_PORT) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = standard.ingress_port;
            hdr.packet_in.pad = 0;
            hdr.packet_in.reason = meta.reason;
        }
        if (meta.egress_session != 0) {
            clone_preserving_field_list(CloneType.E2E, meta.egress_session, 1);
            meta.reason = 7;
            hdr.ethernet.type = 0x5678;
            if (meta.dropped) {
                mark_to_drop(standard);
            }
        }
    }
}

control NoCompute(inout headers hdr, inout metadata meta) { apply { } }

control ConformanceDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.ipv6);
    }
}

V1Switch(ConformanceParser(), NoVerify(), ConformanceIngress(), ConformanceEgress(), NoCompute(),
    ConformanceDeparser()) main;
