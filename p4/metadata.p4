// What `vserver`, `bucket` and their actions find out about a client's packet.
struct schedule_t {
    vserver_id_t vserver_id;
    bit<16>      bucket_mask;
    hash_key_kind_t hash_key_kind;
    bit<64>      hash_key;
    bucket_t     bucket;
    slot_t       slot;
    node_id_t    node_id;
}

struct sip_state_t {
    bit<32> v0;
    bit<32> v1;
    bit<32> v2;
    bit<32> v3;
}

struct metadata_t {
    vlan_id_t  vlan_id;       // 0: untagged
    bit<1>     has_ports;     // a whole datagram with a TCP or UDP header
    bit<16>    src_port;
    bit<16>    dst_port;
    bit<1>     dropped;
    bit<32>    drop_reason;   // DROP_*, when dropped is 1
    schedule_t schedule;
    sip_state_t sip;
}

// The digest by which the controller learns stations.
struct learn_t {
    vlan_id_t  vlan_id;
    mac_addr_t src_mac;
    port_t     ingress_port;
}
