/* What a packet needs: bytes, bits, hashes, lookups, the frames that go out. No memory is allocated here and no
 * function of the C library is called, but for memcpy. */

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned __int128 u128;
typedef __int128 s128;

static inline u64 pf_be16(const u8 *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline u64 pf_be32(const u8 *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline u64 pf_be64(const u8 *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline void pf_put16(u8 *p, u64 v) { uint16_t w = __builtin_bswap16((uint16_t)v); memcpy(p, &w, 2); }
static inline void pf_put32(u8 *p, u64 v) { uint32_t w = __builtin_bswap32((uint32_t)v); memcpy(p, &w, 4); }
static inline void pf_put64(u8 *p, u64 v) { uint64_t w = __builtin_bswap64(v); memcpy(p, &w, 8); }

/* Shifts by any amount: C leaves those by the width or more undefined. */
static inline u64 pf_shl64(u64 v, u64 by) { return by < 64 ? v << by : 0; }
static inline u128 pf_shl128(u128 v, u64 by) { return by < 128 ? v << by : 0; }
static inline u64 pf_shr64(u64 v, u64 by) { return by < 64 ? v >> by : 0; }
static inline u128 pf_shr128(u128 v, u64 by) { return by < 128 ? v >> by : 0; }
static inline s128 pf_sar128(s128 v, u64 by) { return v >> (by < 128 ? by : 127); }

/* Bits put together from the left, for hashes; what is behind them in the buffer is zero. */
struct pf_bits {
    u8 *bytes;
    u32 count;
};

static inline void pf_add_bits(struct pf_bits *bits, u128 value, u32 width) {
    while (width) {
        u32 room = 8 - bits->count % 8, take = width < room ? width : room;
        u32 chunk = (u32)(value >> (width - take)) & ((1u << take) - 1);
        bits->bytes[bits->count / 8] |= (u8)(chunk << (room - take));
        bits->count += take;
        width -= take;
    }
}

static inline u32 pf_bytes_of(const struct pf_bits *bits) { return (bits->count + 7) / 8; }

static inline u64 pf_hash_csum16(const struct pf_bits *bits) {
    u32 length = pf_bytes_of(bits);
    u64 sum = 0;
    for (u32 i = 0; i < length; i++) sum += i % 2 ? bits->bytes[i] : (u64)bits->bytes[i] << 8;
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return 0xFFFF - sum;
}

static inline u64 pf_hash_crc(const struct pf_bits *bits, u32 crc, u32 polynomial, u32 last) {
    u32 length = pf_bytes_of(bits);
    for (u32 i = 0; i < length; i++) {
        crc ^= bits->bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
    }
    return crc ^ last;
}

static inline u64 pf_hash_crc16(const struct pf_bits *bits) { return pf_hash_crc(bits, 0, 0xA001, 0); }
static inline u64 pf_hash_crc32(const struct pf_bits *bits) {
    return pf_hash_crc(bits, 0xFFFFFFFF, 0xEDB88320, 0xFFFFFFFF);
}

static inline u64 pf_hash_identity(const struct pf_bits *bits) {
    u32 length = pf_bytes_of(bits);
    u64 value = 0;
    for (u32 i = 0; i < length && i < 8; i++) value = value << 8 | bits->bytes[i];
    return value;
}

static inline u64 pf_hash_key(u64 seed, const u64 *key, u32 words) {
    u64 hash = seed;
    for (u32 i = 0; i < words; i++) {
        u128 product = (u128)(hash ^ key[i]) * (seed | 1);
        hash = (u64)product ^ (u64)(product >> 64) ^ (hash << 23 | hash >> 41);
    }
    u128 product = (u128)(hash ^ 0x9E3779B97F4A7C15u) * ((seed << 32 | seed >> 32) | 1);
    return (u64)product ^ (u64)(product >> 64);
}

static inline int pf_is_key(const struct pf_table *table, const struct pf_entry *entry, const u64 *key, u32 words) {
    const u64 *known = entry->words + table->key_at;
    u64 differences = 0;
    for (u32 i = 0; i < words; i++) differences |= known[i] ^ key[i];
    return !differences;
}

/* The entry of an exact table; NULL when there is none. A slot is always free, so that the search ends. */
static inline struct pf_entry *pf_find(u64 seed, const struct pf_table *table, const u64 *key, u32 words) {
    if (!table->count) return 0;
    u64 hash = pf_hash_key(seed, key, words);
    for (u64 at = hash & (table->capacity - 1);; at = (at + 1) & (table->capacity - 1)) {
        const struct pf_slot *slot = &table->slots[at];
        if (!slot->entry) return 0;
        if (slot->hash == hash && pf_is_key(table, slot->entry, key, words)) return slot->entry;
    }
}

/* Room for a digest of so many words; NULL, and counted, when there is none. */
static inline u64 *pf_digest(struct pf_state *state, u64 number, u32 words) {
    if (state->digests_capacity - state->digests_used < words + 1) {
        state->digests_dropped++;
        return 0;
    }
    u64 *record = state->digests + state->digests_used;
    state->digests_used += words + 1;
    record[0] = number;
    return record + 1;
}

/* Room for one frame; NULL, and counted, when there is none. */
static inline struct pf_output *pf_output(struct pf_outputs *out, u32 head_bytes) {
    if (out->count == out->capacity) {
        out->dropped++;
        return 0;
    }
    struct pf_output *output = &out->outputs[out->count];
    output->head = out->heads + (u64)out->count * head_bytes;
    out->count++;
    return output;
}
