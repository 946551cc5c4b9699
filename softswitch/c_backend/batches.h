/* Batches of frames between packet sockets, without Python. */

#define PF_SENT 0xFFFFFFFFu
#define PF_BATCH 64
#define PF_ROUNDS 4                    /* of a batch, before others get their turn */
#define PF_VNET 10                     /* struct virtio_net_hdr */
#define PF_TAG 4                       /* an 802.1Q tag */
#define PF_FRAME (65536 + 256)         /* the largest super-packet, and its link-layer headers */

struct pf_auxdata {
    u32 status, length, snap_length;
    uint16_t mac, net, vlan_tci, vlan_tpid;
};

struct pf_frame {
    u8 header[PF_VNET];
    u8 control[CMSG_SPACE(sizeof(struct pf_auxdata))] __attribute__((aligned(8)));
    u8 bytes[PF_TAG + PF_FRAME];
};

uint64_t pf_frames_bytes(void) { return sizeof(struct pf_frame) * PF_BATCH; }

/* The offsets of a virtio-net header count from the start of the frame, which got longer by so much. */
static void pf_shift(u8 *header, int by) {
    static const u8 none[PF_VNET];
    if (!by || !memcmp(header, none, PF_VNET)) return;
    uint16_t length, start;
    memcpy(&length, header + 2, 2);
    memcpy(&start, header + 6, 2);
    int new_length = length ? length + by : 0, new_start = header[0] & 1 ? start + by : start;
    if (new_length < 0 || new_length > 0xFFFF || new_start < 0 || new_start > 0xFFFF) {
        memset(header, 0, PF_VNET);
        return;
    }
    length = (uint16_t)new_length;
    start = (uint16_t)new_start;
    memcpy(header + 2, &length, 2);
    memcpy(header + 6, &start, 2);
}

static enum pf_reason pf_reason_of(int error) {
    switch (error) {
    case EAGAIN: case ENOBUFS: return PF_QUEUE_FULL;
    case EMSGSIZE: return PF_TOO_LONG;
    case ENETDOWN: case ENXIO: case ENODEV: return PF_PORT_DOWN;
    default: return PF_REFUSED;
    }
}

static void pf_send_all(struct pf_port *port, struct mmsghdr *messages, u32 count) {
    for (u32 at = 0; at < count;) {
        int sent = port->fd < 0 ? -1 : sendmmsg(port->fd, messages + at, count - at, MSG_DONTWAIT);
        if (sent <= 0) {
            port->drops[port->fd < 0 ? PF_PORT_DOWN : pf_reason_of(errno)]++;
            at++;
            continue;
        }
        for (u32 end = at + (u32)sent; at < end; at++) {
            port->tx_packets++;
            port->tx_octets += messages[at].msg_len - PF_VNET;
        }
    }
}

/* A frame for the controller: length, virtio-net header, bytes. */
static void pf_keep(struct pf_ports *io, const struct pf_output *output) {
    u32 length = output->head_length + output->tail_length;
    if (io->packet_ins_capacity - io->packet_ins_used < 4 + PF_VNET + length) {
        io->packet_ins_dropped++;
        return;
    }
    u8 *at = io->packet_ins + io->packet_ins_used;
    memcpy(at, &length, 4);
    memcpy(at + 4, output->vnet, PF_VNET);
    memcpy(at + 4 + PF_VNET, output->head, output->head_length);
    memcpy(at + 4 + PF_VNET + output->head_length, output->tail, output->tail_length);
    io->packet_ins_used += 4 + PF_VNET + length;
}

/* Send what there is, port by port, in the order in which it came. */
static void pf_flush(struct pf_ports *io, struct pf_outputs *out) {
    for (u32 first = 0; first < out->count; first++) {
        struct pf_output *output = &out->outputs[first];
        if (output->port == PF_SENT) continue;
        u32 number = output->port;
        if (number == io->cpu_port) {
            pf_keep(io, output);
            continue;
        }
        int place = number < 512 ? io->place[number] : -1;
        if (place < 0) {
            io->unknown_port++;
            continue;
        }
        struct mmsghdr messages[PF_BATCH];
        struct iovec parts[PF_BATCH][3];
        u32 count = 0;
        for (u32 at = first; at < out->count; at++) {
            struct pf_output *one = &out->outputs[at];
            if (one->port != number) continue;
            one->port = PF_SENT;
            parts[count][0] = (struct iovec){one->vnet, PF_VNET};
            parts[count][1] = (struct iovec){one->head, one->head_length};
            parts[count][2] = (struct iovec){(void *)one->tail, one->tail_length};
            memset(&messages[count], 0, sizeof messages[count]);
            messages[count].msg_hdr.msg_iov = parts[count];
            messages[count].msg_hdr.msg_iovlen = 3;
            if (++count == PF_BATCH) {
                pf_send_all(&io->ports[place], messages, count);
                count = 0;
            }
        }
        pf_send_all(&io->ports[place], messages, count);
    }
    out->count = 0;
}

static void pf_receive(struct pf_state *state, struct pf_ports *io, struct pf_port *port, struct pf_frame *frame,
                       struct mmsghdr *message, u64 now_ns, struct pf_outputs *out) {
    if (message->msg_hdr.msg_flags & MSG_TRUNC || message->msg_len < PF_VNET) {
        port->drops[PF_TRUNCATED]++;
        return;
    }
    u8 *bytes = frame->bytes + PF_TAG;
    u32 length = message->msg_len - PF_VNET;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message->msg_hdr); c; c = CMSG_NXTHDR(&message->msg_hdr, c)) {
        struct pf_auxdata aux;
        if (c->cmsg_level != 263 || c->cmsg_type != 8 || c->cmsg_len < CMSG_LEN(sizeof aux)) continue;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if (!(aux.status & 1 << 4) || length < 12) continue;
        memmove(frame->bytes, bytes, 12);
        pf_put16(frame->bytes + 12, aux.status & 1 << 6 ? aux.vlan_tpid : 0x8100);
        pf_put16(frame->bytes + 14, aux.vlan_tci);
        bytes = frame->bytes;
        length += PF_TAG;
        pf_shift(frame->header, PF_TAG);
        break;
    }
    port->rx_packets++;
    port->rx_octets += length;
    u32 before = out->count;
    pf_process(state, port->number, bytes, length, now_ns, out);
    for (u32 at = before; at < out->count; at++) {
        struct pf_output *output = &out->outputs[at];
        memcpy(output->vnet, frame->header, PF_VNET);
        pf_shift(output->vnet, (int)(output->head_length + output->tail_length) - (int)length);
    }
}

/* Forward what waits at a port; returns 0, or the error number of receiving. */
int pf_forward(struct pf_state *state, struct pf_ports *io, uint32_t place, struct pf_outputs *out) {
    struct pf_port *port = &io->ports[place];
    struct pf_frame *frames = (struct pf_frame *)io->frames;
    for (int round = 0; round < PF_ROUNDS; round++) {
        struct mmsghdr messages[PF_BATCH];
        struct iovec parts[PF_BATCH][2];
        memset(messages, 0, sizeof messages);
        for (int i = 0; i < PF_BATCH; i++) {
            parts[i][0] = (struct iovec){frames[i].header, PF_VNET};
            parts[i][1] = (struct iovec){frames[i].bytes + PF_TAG, PF_FRAME};
            messages[i].msg_hdr.msg_iov = parts[i];
            messages[i].msg_hdr.msg_iovlen = 2;
            messages[i].msg_hdr.msg_control = frames[i].control;
            messages[i].msg_hdr.msg_controllen = sizeof frames[i].control;
        }
        int received = recvmmsg(port->fd, messages, PF_BATCH, MSG_DONTWAIT, 0);
        if (received < 0) return errno == EAGAIN || errno == EINTR ? 0 : errno;
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        out->count = 0;
        for (int i = 0; i < received; i++) {
            if (out->capacity - out->count < io->most_copies) pf_flush(io, out);
            pf_receive(state, io, port, &frames[i], &messages[i], (u64)now.tv_sec * 1000000000u + (u64)now.tv_nsec, out);
        }
        pf_flush(io, out);
        if (received < PF_BATCH) return 0;
    }
    return 0;
}
