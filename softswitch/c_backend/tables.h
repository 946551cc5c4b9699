/* What the control plane does to tables. Not for use from several threads at once. */

static void pf_place(struct pf_slot *slots, u64 capacity, struct pf_slot slot) {
    u64 at = slot.hash & (capacity - 1);
    while (slots[at].entry) at = (at + 1) & (capacity - 1);
    slots[at] = slot;
}

/* Returns -1 when there is no memory. The key is not in the table yet. */
int pf_insert(struct pf_state *state, struct pf_table *table, struct pf_entry *entry) {
    if (2 * (table->count + 1) > table->capacity) {
        u64 capacity = table->capacity ? 2 * table->capacity : 16;
        struct pf_slot *slots = calloc(capacity, sizeof *slots);
        if (!slots) return -1;
        for (u64 at = 0; at < table->capacity; at++)
            if (table->slots[at].entry) pf_place(slots, capacity, table->slots[at]);
        free(table->slots);
        table->slots = slots;
        table->capacity = capacity;
    }
    struct pf_slot slot = {pf_hash_key(state->seed, entry->words + table->key_at, table->key_words), entry};
    pf_place(table->slots, table->capacity, slot);
    table->count++;
    return 0;
}

void pf_delete(struct pf_state *state, struct pf_table *table, struct pf_entry *entry) {
    if (!table->count) return;
    u64 mask = table->capacity - 1;
    u64 at = pf_hash_key(state->seed, entry->words + table->key_at, table->key_words) & mask;
    while (table->slots[at].entry != entry) {
        if (!table->slots[at].entry) return;
        at = (at + 1) & mask;
    }
    /* Move up what would be cut off from its place by the gap. */
    for (u64 next = (at + 1) & mask; table->slots[next].entry; next = (next + 1) & mask) {
        u64 home = table->slots[next].hash & mask;
        if (((next - home) & mask) >= ((next - at) & mask)) {
            table->slots[at] = table->slots[next];
            at = next;
        }
    }
    table->slots[at].entry = 0;
    table->count--;
}

/* Returns -1 when there is no memory. Behind those of the same rank. */
int pf_insert_ranked(struct pf_table *table, struct pf_entry *entry) {
    if (table->count == table->capacity) {
        u64 capacity = table->capacity ? 2 * table->capacity : 16;
        struct pf_entry **scan = realloc(table->scan, capacity * sizeof *scan);
        if (!scan) return -1;
        table->scan = scan;
        table->capacity = capacity;
    }
    u64 at = table->count++;
    for (; at && table->scan[at - 1]->rank < entry->rank; at--) table->scan[at] = table->scan[at - 1];
    table->scan[at] = entry;
    return 0;
}

void pf_delete_ranked(struct pf_table *table, struct pf_entry *entry) {
    u64 at = 0;
    while (at < table->count && table->scan[at] != entry) at++;
    if (at == table->count) return;
    for (table->count--; at < table->count; at++) table->scan[at] = table->scan[at + 1];
}

void pf_free(struct pf_table *tables, uint64_t count) {
    for (u64 i = 0; i < count; i++) {
        free(tables[i].slots);
        free(tables[i].scan);
        tables[i].slots = 0;
        tables[i].scan = 0;
        tables[i].count = tables[i].capacity = 0;
    }
}
