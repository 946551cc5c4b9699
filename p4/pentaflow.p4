// Pentaflow: the scheduler of a TLS load-balancing array, and the layer-2 switch around it.
//
//                    from the controller ─► packet_out ───────────────────────────────────┐
//   frame ─► parser ─┤                                                                    ├─► egress ─► frame
//                    └─► smac ─► arp, nd ─► admit ─┬─► vserver ─► hash ─► bucket ─► slot ─┤   (no reflection,
//                     (learn)  (answer)            └─► dmac ─► flood ─────────────────────┘    packet_in)
//
// Frames to a VIP's own MAC are admitted to the scheduler; all others are bridged. docs/pipeline.md goes through it
// table by table. v1model; compile with `make p4`.

#include <core.p4>
#include <v1model.p4>

#include "ids.p4"
#include "sizes.p4"
#include "headers.p4"
#include "metadata.p4"
#include "parser.p4"
#include "hash.p4"
#include "on_demand.p4"
#include "transit.p4"
#include "scheduler.p4"
#include "arp.p4"
#include "neighbour.p4"
#include "bridge.p4"

control PentaflowVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control PentaflowIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    Learning() learning;
    ArpResponder() arp_responder;
    NeighbourResponder() neighbour_responder;
    Scheduler() scheduler;
    Bridge() bridge;

    @id(0x12000001)
    counter(DROP_REASONS, CounterType.packets_and_bytes) drops;

    @id(0x0100000c)
    action admit_to_scheduler() { }

    @id(0x02000008)
    table admit {
        key = {
            meta.vlan_id          : exact @name("vlan_id");
            hdr.ethernet.dst_addr : exact @name("dst_mac");
        }
        actions = { admit_to_scheduler; @defaultonly NoAction; }
        const default_action = NoAction();
        size = ADMIT_TABLE_SIZE;
    }

    apply {
        bit<1> answered;

        if (hdr.packet_out.isValid() && hdr.packet_out.submit_to_ingress == 0) {
            standard_metadata.egress_spec = hdr.packet_out.egress_port;
        } else {
            if (!hdr.ethernet.isValid()) {
                meta.dropped = 1;
                meta.drop_reason = DROP_MALFORMED;
            } else if (!hdr.packet_out.isValid()) {
                learning.apply(hdr, meta, standard_metadata);
            }
            if (meta.dropped == 0) {
                if (hdr.arp.isValid()) {
                    arp_responder.apply(hdr, meta, standard_metadata, answered);
                } else {
                    neighbour_responder.apply(hdr, meta, standard_metadata, answered);
                }
                if (answered == 0) {
                    if (!admit.apply().hit) {
                        bridge.apply(hdr, meta, standard_metadata);
                    } else if (standard_metadata.parser_error != error.NoError) {
                        meta.dropped = 1;
                        meta.drop_reason = DROP_MALFORMED;
                    } else {
                        scheduler.apply(hdr, meta, standard_metadata);
                    }
                }
            }
        }
        hdr.packet_out.setInvalid();

        if (meta.dropped == 1) {
            drops.count(meta.drop_reason);
            mark_to_drop(standard_metadata);
        }
    }
}

control PentaflowEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (standard_metadata.instance_type == INSTANCE_TYPE_REPLICATION
            && standard_metadata.egress_port == standard_metadata.ingress_port) {
            mark_to_drop(standard_metadata);
        } else if (standard_metadata.egress_port == CPU_PORT) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = standard_metadata.ingress_port;
            hdr.packet_in.reason = PACKET_IN_ADDRESSED;
            if (meta.packet_in_reason != 0) {
                hdr.packet_in.reason = meta.packet_in_reason;
                hdr.packet_in.vserver_id = meta.schedule.vserver_id;
                hdr.packet_in.bucket = meta.schedule.bucket;
            }
        }
    }
}

// Only what the switch wrote itself: it is of a fixed length and all of it is known.
control PentaflowComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(meta.is_advertisement == 1,
                        { hdr.ipv6.src_addr, hdr.ipv6.dst_addr, 16w0, hdr.ipv6.payload_length, 24w0,
                          hdr.ipv6.next_header, hdr.icmpv6.type, hdr.icmpv6.code, hdr.icmpv6.rest, hdr.nd.target_addr,
                          hdr.nd_link_address.type, hdr.nd_link_address.length, hdr.nd_link_address.mac },
                        hdr.icmpv6.checksum, HashAlgorithm.csum16);
    }
}

V1Switch(PentaflowParser(), PentaflowVerifyChecksum(), PentaflowIngress(), PentaflowEgress(),
         PentaflowComputeChecksum(), PentaflowDeparser()) main;
