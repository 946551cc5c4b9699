/*
 * The hot path of a TLS connection in one call a direction.
 *
 * An SSL object here has no sockets and no buffers of its own: its BIO reads from and appends to the `pf_frame` of the
 * call in progress. OpenSSL takes every byte of the input before it asks for more, so nothing is left over between
 * calls, an idle connection holds no buffer, and one frame serves every connection of a thread. Output stays valid
 * until the next call with the same frame.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#define PF_RECORD 16384

enum { PF_HANDSHAKING, PF_OPEN, PF_PEER_CLOSED, PF_FAILED };

typedef struct {
    const char *in; /* ciphertext that OpenSSL has not read yet; borrowed for the length of a call */
    size_t in_len;
    char *plain;
    size_t plain_len, plain_size;
    char *cipher;
    size_t cipher_len, cipher_size;
    const char *reason; /* why the last call failed: a static string of OpenSSL's, or NULL */
} pf_frame;

static BIO_METHOD *pf_bio_method;

static int pf_reserve(char **data, size_t *size, size_t need)
{
    if (need > *size) {
        size_t grown = *size * 2 > need ? *size * 2 : need;
        char *moved = realloc(*data, grown);
        if (moved == NULL)
            return 0;
        *data = moved;
        *size = grown;
    }
    return 1;
}

static int pf_bio_read(BIO *bio, char *out, int len)
{
    pf_frame *frame = BIO_get_data(bio);
    size_t n = (size_t)len < frame->in_len ? (size_t)len : frame->in_len;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, frame->in, n);
    frame->in += n;
    frame->in_len -= n;
    return (int)n;
}

static int pf_bio_write(BIO *bio, const char *in, int len)
{
    pf_frame *frame = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (!pf_reserve(&frame->cipher, &frame->cipher_size, frame->cipher_len + (size_t)len))
        return -1;
    memcpy(frame->cipher + frame->cipher_len, in, (size_t)len);
    frame->cipher_len += (size_t)len;
    return len;
}

static long pf_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Makes what all connections share; 0 when memory is short. Call it once, first. */
static int pf_initialise(void)
{
    pf_bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pentaflow frame");
    return pf_bio_method != NULL && BIO_meth_set_read(pf_bio_method, pf_bio_read) &&
           BIO_meth_set_write(pf_bio_method, pf_bio_write) && BIO_meth_set_ctrl(pf_bio_method, pf_bio_ctrl);
}

static pf_frame *pf_frame_new(void)
{
    return calloc(1, sizeof(pf_frame));
}

static void pf_frame_free(pf_frame *frame)
{
    if (frame != NULL) {
        free(frame->plain);
        free(frame->cipher);
        free(frame);
    }
}

/* A server-side connection; NULL when memory is short. */
static SSL *pf_accept(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    BIO *bio = BIO_new(pf_bio_method);

    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    return ssl;
}

static void pf_begin(SSL *ssl, pf_frame *frame, const char *in, size_t in_len)
{
    ERR_clear_error();
    BIO_set_data(SSL_get_rbio(ssl), frame);
    frame->in = in;
    frame->in_len = in_len;
    frame->plain_len = frame->cipher_len = 0;
    frame->reason = NULL;
}

static int pf_fail(pf_frame *frame)
{
    /* The oldest error is the cause, what follows is its echo. */
    frame->reason = ERR_reason_error_string(ERR_peek_error());
    frame->plain_len = 0;
    ERR_clear_error();
    return PF_FAILED;
}

/*
 * Takes ciphertext from the peer: goes on with the handshake, decrypts into frame->plain, and leaves what has to be
 * sent to the peer (handshake, tickets, alerts) in frame->cipher. Returns the state of the connection.
 */
static int pf_receive(SSL *ssl, pf_frame *frame, const char *in, size_t in_len)
{
    int result;

    pf_begin(ssl, frame, in, in_len);
    if (!SSL_is_init_finished(ssl)) {
        result = SSL_do_handshake(ssl);
        if (result != 1)
            return SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ ? PF_HANDSHAKING : pf_fail(frame);
    }
    for (;;) {
        size_t n;
        if (!pf_reserve(&frame->plain, &frame->plain_size, frame->plain_len + frame->in_len + PF_RECORD))
            return pf_fail(frame);
        result = SSL_read_ex(ssl, frame->plain + frame->plain_len, frame->plain_size - frame->plain_len, &n);
        if (result == 1) {
            frame->plain_len += n;
            continue;
        }
        switch (SSL_get_error(ssl, result)) {
        case SSL_ERROR_WANT_READ:
            return PF_OPEN;
        case SSL_ERROR_ZERO_RETURN:
            return PF_PEER_CLOSED;
        default:
            return pf_fail(frame);
        }
    }
}

/* Encrypts all of `in` into frame->cipher. Returns PF_OPEN or PF_FAILED. */
static int pf_send(SSL *ssl, pf_frame *frame, const char *in, size_t in_len)
{
    size_t n;

    pf_begin(ssl, frame, NULL, 0);
    return SSL_write_ex(ssl, in, in_len, &n) == 1 ? PF_OPEN : pf_fail(frame);
}

/* Leaves a close_notify alert in frame->cipher. */
static void pf_close(SSL *ssl, pf_frame *frame)
{
    pf_begin(ssl, frame, NULL, 0);
    SSL_shutdown(ssl);
    ERR_clear_error();
}

/* RFC 7301: http/1.1, or else http/1.0; a client that wants neither is refused with an alert. */
static int pf_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                          unsigned int in_len, void *argument)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    unsigned char *selected;

    (void)ssl, (void)argument;
    if (SSL_select_next_proto(&selected, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = selected;
    return SSL_TLSEXT_ERR_OK;
}

static void pf_context_set_alpn(SSL_CTX *ctx)
{
    SSL_CTX_set_alpn_select_cb(ctx, pf_select_alpn, NULL);
}

/* The reason of the oldest error in the queue, which is cleared; NULL when there is none. */
static const char *pf_take_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason;
}
