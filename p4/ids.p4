// Numbers that the control plane, the switch and the documentation agree on. Never reuse one.

const bit<16> ETHERTYPE_IPV4 = 0x0800;
const bit<16> ETHERTYPE_ARP  = 0x0806;
const bit<16> ETHERTYPE_VLAN = 0x8100;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;

const bit<8> IP_PROTOCOL_ICMP          = 1;
const bit<8> IP_PROTOCOL_TCP           = 6;
const bit<8> IP_PROTOCOL_UDP           = 17;
const bit<8> IP_PROTOCOL_IPV6_FRAGMENT = 44;
const bit<8> IP_PROTOCOL_ICMPV6        = 58;

// ICMP errors, which quote the packet that they are about (RFC 792, RFC 4443).
const bit<8> ICMP_UNREACHABLE       = 3;
const bit<8> ICMP_TIME_EXCEEDED     = 11;
const bit<8> ICMP_PARAMETER_PROBLEM = 12;
const bit<8> ICMPV6_UNREACHABLE       = 1;
const bit<8> ICMPV6_PACKET_TOO_BIG    = 2;
const bit<8> ICMPV6_TIME_EXCEEDED     = 3;
const bit<8> ICMPV6_PARAMETER_PROBLEM = 4;

const bit<8> TCP_SYN = 0x02;
const bit<8> TCP_ACK = 0x10;

// Neighbour discovery (RFC 4861).
const bit<8>  ICMPV6_NEIGHBOUR_SOLICITATION  = 135;
const bit<8>  ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136;
const bit<8>  ND_HOP_LIMIT                   = 255;
const bit<8>  ND_TARGET_LINK_ADDRESS         = 2;
const bit<16> ND_SOLICITATION_LENGTH         = 24;   // without options
const bit<16> ND_ADVERTISEMENT_LENGTH        = 32;   // with the target's link-layer address
const bit<32> ND_FLAG_SOLICITED              = 0x40000000;
const bit<32> ND_FLAG_OVERRIDE               = 0x20000000;

const bit<128> IPV6_UNSPECIFIED   = 0;
const bit<128> IPV6_ALL_NODES     = 0xff020000000000000000000000000001;
const bit<48>  IPV6_ALL_NODES_MAC = 0x333300000001;

const bit<16> ARP_HTYPE_ETHERNET = 1;
const bit<16> ARP_OPER_REQUEST   = 1;
const bit<16> ARP_OPER_REPLY     = 2;

// The port to the controller; start BMv2 with `--cpu-port 510`. 511 is BMv2's drop port.
const bit<9> CPU_PORT = 510;

// Frames to an unknown or a group address go to this multicast group unless their VLAN has an entry in `flood`.
const bit<16> DEFAULT_FLOOD_GROUP = 1;

// v1model: the value of standard_metadata.instance_type of a replica made by a multicast group (BMv2).
const bit<32> INSTANCE_TYPE_REPLICATION = 5;

// Which fields choose the bucket: pentaflow.hash.HashKeyKind.
enum bit<2> hash_key_kind_t {
    SRC = 0,
    SRC_PORT = 1,
    FIVE_TUPLE = 2
}

// Why a packet came to the controller: the packet-in header's `reason`.
const bit<7> PACKET_IN_ADDRESSED  = 1;
const bit<7> PACKET_IN_UNASSIGNED = 2;  // its bucket has no slot, and its vserver wants to be asked

// Index into the counter `drops`.
const bit<32> DROP_MALFORMED         = 0;  // shorter than its headers say
const bit<32> DROP_BAD_SOURCE        = 1;  // group address as source
const bit<32> DROP_NOT_TCP_OR_UDP    = 2;  // addressed to a VIP's MAC: nothing that can be scheduled
const bit<32> DROP_FRAGMENT          = 3;  // addressed to a VIP's MAC: a fragment, whose ports are unknown
const bit<32> DROP_NO_VSERVER        = 4;  // addressed to a VIP's MAC: no vserver at this address and port
const bit<32> DROP_UNASSIGNED_BUCKET = 5;  // the bucket has no slot
const bit<32> DROP_UNASSIGNED_SLOT   = 6;  // the slot has no node
const bit<32> DROP_SAME_PORT         = 7;  // bridging would send the frame back to where it came from
const bit<32> DROP_PACKET_IN_LIMIT   = 8;  // the bucket has no slot, and the controller was asked often enough
