"""What is used of OpenSSL (3.0 or later)."""

from libc.stdint cimport uint8_t, uint64_t


cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass

    enum:
        SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN
        SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN
        BIO_CTRL_FLUSH, BIO_TYPE_SOURCE_SINK

    void SSL_free(SSL *)
    void SSL_set_bio(SSL *, BIO *, BIO *)
    int SSL_do_handshake(SSL *)
    int SSL_is_init_finished(const SSL *)
    int SSL_read_ex(SSL *, void *, size_t, size_t *)
    int SSL_write_ex(SSL *, const void *, size_t, size_t *)
    int SSL_pending(const SSL *)
    int SSL_get_error(const SSL *, int)
    int SSL_shutdown(SSL *)
    void SSL_set_shutdown(SSL *, int)

    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int, const char *)
    int BIO_meth_set_read(BIO_METHOD *, int (*)(BIO *, char *, int))
    int BIO_meth_set_write(BIO_METHOD *, int (*)(BIO *, const char *, int))
    int BIO_meth_set_ctrl(BIO_METHOD *, long (*)(BIO *, int, long, void *))
    BIO *BIO_new(const BIO_METHOD *)
    void BIO_set_data(BIO *, void *)
    void *BIO_get_data(BIO *)
    void BIO_set_init(BIO *, int)
    void BIO_set_retry_read(BIO *)
    void BIO_clear_retry_flags(BIO *)

cdef extern from "<openssl/err.h>" nogil:
    unsigned long ERR_peek_error()
    void ERR_clear_error()
    const char *ERR_reason_error_string(unsigned long)
