// What `vserver`, `bucket` and their actions find out about a client's packet.
struct schedule_t {
    vserver_id_t vserver_id;
    bit<16>      bucket_mask;
    hash_key_kind_t hash_key_kind;
    bit<64>      hash_key;
    bit<16>      packet_in_limit;
    bucket_t     bucket;
    slot_t       slot;
    bit<1>       is_split;
    slot_t       old_slot;      // of a split bucket
    bit<32>      window;        // likewise: how long the filter remembers a flow, in ticks of 1.024 ms
    node_id_t    node_id;
    mac_addr_t   vip_mac;       // the packet's destination before the node's
}

struct sip_state_t {
    bit<32> v0;
    bit<32> v1;
    bit<32> v2;
    bit<32> v3;
}

// The connection that a packet belongs to, seen from the client; of an ICMP error, the one that it is about.
struct flow_t {
    bit<1>      has_ports;    // a whole datagram with a TCP or UDP header, or an ICMP error about one
    bit<1>      is_ipv6;
    bit<1>      is_fragment;
    ipv4_addr_t client_v4;
    ipv4_addr_t vip_v4;
    ipv6_addr_t client_v6;
    ipv6_addr_t vip_v6;
    bit<8>      protocol;
    bit<16>     client_port;
    bit<16>     vip_port;
}

struct metadata_t {
    vlan_id_t  vlan_id;       // 0: untagged
    flow_t     flow;
    bit<1>     dropped;
    bit<32>    drop_reason;   // DROP_*, when dropped is 1
    bit<1>     is_advertisement;  // a neighbour advertisement of our own: wants its checksum
    bit<7>     packet_in_reason;  // PACKET_IN_*; 0: addressed to the controller
    schedule_t schedule;
    sip_state_t sip;
}

// The digest by which the controller learns stations.
struct learn_t {
    vlan_id_t  vlan_id;
    mac_addr_t src_mac;
    port_t     ingress_port;
}
