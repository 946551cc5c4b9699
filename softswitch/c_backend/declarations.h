/* What the compiled pipeline shares with Python: cffi reads this file as it stands. */

struct pf_entry {
    uint64_t packets, octets, last_hit_ns;
    uint64_t code;      /* the action's place in the table */
    int64_t rank;       /* greater wins; scanned tables only */
    uint64_t words[];   /* parameters, then the key (hashed) or mask, low and high of each field (scanned) */
};

struct pf_slot {
    uint64_t hash;
    struct pf_entry *entry; /* NULL: free */
};

struct pf_table {
    struct pf_slot *slots;  /* hashed: open addressing, capacity a power of two */
    uint64_t capacity, count;
    struct pf_entry **scan; /* scanned: by falling rank */
    struct pf_entry *default_entry;
    uint32_t key_at, key_words;
};

struct pf_replica {
    uint32_t port, instance;
};

struct pf_group {
    uint32_t count;
    struct pf_replica replicas[];
};

struct pf_state {
    uint64_t seed; /* of the hash, secret: nobody outside can aim at one slot */
    struct pf_table *tables;
    uint64_t **packets, **octets, **registers;
    struct pf_group **groups; /* by number, clone sessions behind; NULL where there is none */
    uint64_t *digests;        /* records: digest number, then its members */
    uint32_t digests_used, digests_capacity;
    uint64_t digests_dropped;
    uint64_t *clones_dropped;
};

struct pf_output {
    uint32_t port, head_length, tail_length;
    uint8_t *head;       /* headers, put together anew */
    const uint8_t *tail; /* the rest, in the frame that came */
    uint8_t vnet[10];    /* in batches: the virtio-net header */
};

struct pf_outputs {
    struct pf_output *outputs;
    uint8_t *heads;
    uint32_t count, capacity;
    uint64_t dropped;
};

/* Why a port drops a frame: its place in `drops`. */
enum pf_reason { PF_TRUNCATED, PF_QUEUE_FULL, PF_TOO_LONG, PF_PORT_DOWN, PF_REFUSED, PF_REASONS };

struct pf_port {
    int32_t fd; /* -1: down */
    uint32_t number;
    uint64_t rx_packets, rx_octets, tx_packets, tx_octets;
    uint64_t drops[5];
};

struct pf_ports {
    struct pf_port *ports;
    int32_t place[512]; /* in `ports`, by port number; -1: no such port */
    uint32_t cpu_port;  /* beyond all ports when there is none */
    uint32_t most_copies;
    uint8_t *frames;
    uint8_t *packet_ins;
    uint32_t packet_ins_used, packet_ins_capacity;
    uint64_t packet_ins_dropped, unknown_port;
};

uint64_t pf_frames_bytes(void);
int pf_forward(struct pf_state *state, struct pf_ports *io, uint32_t place, struct pf_outputs *out);
uint32_t pf_head_bytes(void);
void pf_process(struct pf_state *state, uint32_t port, const uint8_t *frame, uint32_t size, uint64_t now_ns,
                struct pf_outputs *out);
int pf_insert(struct pf_state *state, struct pf_table *table, struct pf_entry *entry);
int pf_insert_ranked(struct pf_table *table, struct pf_entry *entry);
void pf_delete(struct pf_state *state, struct pf_table *table, struct pf_entry *entry);
void pf_delete_ranked(struct pf_table *table, struct pf_entry *entry);
void pf_free(struct pf_table *tables, uint64_t count);
