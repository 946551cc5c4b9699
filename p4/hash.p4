// The bucket hash [D3]: HalfSipHash-1-3, 64-bit key, 32-bit result. pentaflow/hash.py computes the same and says what
// it resists. Additions, rotations by constants and exclusive ors only, so that a Tofino can compute it, too.

control BucketHash(inout metadata_t meta) {
    // The state is metadata and a round is an action of its own: as local variables p4c would substitute each into the
    // next, and the expressions grow without bound.
    action round() {
        meta.sip.v0 = meta.sip.v0 + meta.sip.v1;
        meta.sip.v1 = (meta.sip.v1[26:0] ++ meta.sip.v1[31:27]) ^ meta.sip.v0;
        meta.sip.v0 = meta.sip.v0[15:0] ++ meta.sip.v0[31:16];
        meta.sip.v2 = meta.sip.v2 + meta.sip.v3;
        meta.sip.v3 = (meta.sip.v3[23:0] ++ meta.sip.v3[31:24]) ^ meta.sip.v2;
        meta.sip.v0 = meta.sip.v0 + meta.sip.v3;
        meta.sip.v3 = (meta.sip.v3[24:0] ++ meta.sip.v3[31:25]) ^ meta.sip.v0;
        meta.sip.v2 = meta.sip.v2 + meta.sip.v1;
        meta.sip.v1 = (meta.sip.v1[18:0] ++ meta.sip.v1[31:19]) ^ meta.sip.v2;
        meta.sip.v2 = meta.sip.v2[15:0] ++ meta.sip.v2[31:16];
    }

    action absorb(bit<32> word) {
        meta.sip.v3 = meta.sip.v3 ^ word;
        round();
        meta.sip.v0 = meta.sip.v0 ^ word;
    }

    apply {
        meta.sip.v0 = meta.schedule.hash_key[31:0];
        meta.sip.v1 = meta.schedule.hash_key[63:32];
        meta.sip.v2 = meta.schedule.hash_key[31:0] ^ 0x6c796765;
        meta.sip.v3 = meta.schedule.hash_key[63:32] ^ 0x74656462;

        // The most significant word of an address first; the top byte of the last word is the message's length.
        bit<32> word = meta.flow.client_v4;
        bit<8> address_length = 4;
        if (meta.flow.is_ipv6 == 1) {
            absorb(meta.flow.client_v6[127:96]);
            absorb(meta.flow.client_v6[95:64]);
            absorb(meta.flow.client_v6[63:32]);
            word = meta.flow.client_v6[31:0];
            address_length = 16;
        }
        absorb(word);
        if (meta.schedule.hash_key_kind == hash_key_kind_t.SRC_PORT) {
            word = (address_length + 2) ++ 8w0 ++ meta.flow.client_port;
        } else if (meta.schedule.hash_key_kind == hash_key_kind_t.SRC) {
            word = address_length ++ 24w0;
        } else {
            word = meta.flow.vip_v4;
            if (meta.flow.is_ipv6 == 1) {
                absorb(meta.flow.vip_v6[127:96]);
                absorb(meta.flow.vip_v6[95:64]);
                absorb(meta.flow.vip_v6[63:32]);
                word = meta.flow.vip_v6[31:0];
            }
            absorb(word);
            absorb(meta.flow.client_port ++ meta.flow.vip_port);
            word = (2 * address_length + 5) ++ 16w0 ++ meta.flow.protocol;
        }
        absorb(word);
        meta.sip.v2 = meta.sip.v2 ^ 0xff;
        round();
        round();
        round();
        meta.schedule.bucket = (bit<16>)(meta.sip.v1 ^ meta.sip.v3) & meta.schedule.bucket_mask;
    }
}
