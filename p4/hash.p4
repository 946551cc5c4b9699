// The bucket hash [D3]: HalfSipHash-1-3, 64-bit key, 32-bit result. pentaflow/hash.py computes the same and says what
// it resists. Additions, rotations by constants and exclusive ors only, so that a Tofino can compute it, too.

control BucketHash(in headers_t hdr, inout metadata_t meta) {
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

        absorb(hdr.ipv4.src_addr);
        if (meta.schedule.hash_key_kind == hash_key_kind_t.SRC_PORT) {
            absorb(8w6 ++ 8w0 ++ meta.src_port);
        } else if (meta.schedule.hash_key_kind == hash_key_kind_t.SRC) {
            absorb(8w4 ++ 24w0);
        } else {
            absorb(hdr.ipv4.dst_addr);
            absorb(meta.src_port ++ meta.dst_port);
            absorb(8w13 ++ 16w0 ++ hdr.ipv4.protocol);
        }
        meta.sip.v2 = meta.sip.v2 ^ 0xff;
        round();
        round();
        round();
        meta.schedule.bucket = (bit<16>)(meta.sip.v1 ^ meta.sip.v3) & meta.schedule.bucket_mask;
    }
}
