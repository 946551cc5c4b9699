"""What is used of OpenSSL (3.0 or later)."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "<openssl/bio.h>":
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    enum:
        BIO_CTRL_FLUSH, BIO_TYPE_SOURCE_SINK
    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int, const char *)
    int BIO_meth_set_read(BIO_METHOD *, int (*)(BIO *, char *, int) noexcept)
    int BIO_meth_set_write(BIO_METHOD *, int (*)(BIO *, const char *, int) noexcept)
    int BIO_meth_set_ctrl(BIO_METHOD *, long (*)(BIO *, int, long, void *) noexcept)
    BIO *BIO_new(const BIO_METHOD *)
    BIO *BIO_new_mem_buf(const void *, int)
    int BIO_free(BIO *)
    void BIO_set_data(BIO *, void *)
    void *BIO_get_data(BIO *)
    void BIO_set_init(BIO *, int)
    void BIO_set_retry_read(BIO *)
    void BIO_clear_retry_flags(BIO *)

cdef extern from "<openssl/crypto.h>":
    void *OPENSSL_malloc(size_t)
    void OPENSSL_free(void *)

cdef extern from "<openssl/err.h>":
    unsigned long ERR_peek_error()
    void ERR_clear_error()
    const char *ERR_reason_error_string(unsigned long)

cdef extern from "<openssl/evp.h>":
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    void EVP_PKEY_free(EVP_PKEY *)
    EVP_CIPHER *EVP_CIPHER_fetch(void *, const char *, const char *)
    int EVP_EncryptInit_ex2(EVP_CIPHER_CTX *, const EVP_CIPHER *, const unsigned char *, const unsigned char *, void *)
    int EVP_DecryptInit_ex2(EVP_CIPHER_CTX *, const EVP_CIPHER *, const unsigned char *, const unsigned char *, void *)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *, const OSSL_PARAM *)
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char *, void *, size_t)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char *, char *, size_t)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "<openssl/rand.h>":
    int RAND_bytes(unsigned char *, int)

cdef extern from "<openssl/x509_vfy.h>":
    ctypedef struct X509:
        pass
    ctypedef struct X509_CRL:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    enum:
        X509_V_FLAG_CRL_CHECK, X509_V_OK
    void X509_free(X509 *)
    void X509_CRL_free(X509_CRL *)
    X509_STORE *X509_STORE_new()
    void X509_STORE_free(X509_STORE *)
    int X509_STORE_add_cert(X509_STORE *, X509 *)
    int X509_STORE_add_crl(X509_STORE *, X509_CRL *)
    int X509_STORE_set_flags(X509_STORE *, unsigned long)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *, const char *)
    const char *X509_verify_cert_error_string(long)
    int i2d_X509(const X509 *, unsigned char **)

cdef extern from "<openssl/pem.h>":
    X509 *PEM_read_bio_X509(BIO *, X509 **, void *, void *)
    X509_CRL *PEM_read_bio_X509_CRL(BIO *, X509_CRL **, void *, void *)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *, EVP_PKEY **, void *, void *)

cdef extern from "<openssl/ssl.h>":
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_METHOD:
        pass
    enum:
        SSL_ERROR_WANT_READ, SSL_ERROR_WANT_CLIENT_HELLO_CB, SSL_ERROR_ZERO_RETURN
        SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_RETRY
        SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN
        TLS1_2_VERSION, TLS1_3_VERSION
        SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_PRIORITIZE_CHACHA
        SSL_OP_NO_TICKET
        SSL_MODE_NO_AUTO_CHAIN, SSL_MODE_RELEASE_BUFFERS
        SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_SERVER, SSL_SESS_CACHE_NO_INTERNAL
        SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_NOACK
        OPENSSL_NPN_NEGOTIATED
        TLSEXT_NAMETYPE_host_name, TLSEXT_TYPE_server_name, TLSEXT_TYPE_session_ticket, TLSEXT_TYPE_supported_versions
        SSL_TICKET_NO_DECRYPT, SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW
        SSL_TICKET_RETURN_IGNORE_RENEW, SSL_TICKET_RETURN_USE, SSL_TICKET_RETURN_USE_RENEW
        SSL3_RT_HANDSHAKE, SSL3_MT_KEY_UPDATE

    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *)
    void SSL_CTX_free(SSL_CTX *)
    int SSL_CTX_set_min_proto_version(SSL_CTX *, int)
    int SSL_CTX_set_max_proto_version(SSL_CTX *, int)
    uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t)
    long SSL_CTX_set_mode(SSL_CTX *, long)
    int SSL_CTX_set_cipher_list(SSL_CTX *, const char *)
    int SSL_CTX_set_ciphersuites(SSL_CTX *, const char *)
    int SSL_CTX_set1_groups_list(SSL_CTX *, const char *)
    int SSL_CTX_set_session_id_context(SSL_CTX *, const unsigned char *, unsigned int)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *, long)
    long SSL_CTX_sess_set_cache_size(SSL_CTX *, long)
    long SSL_CTX_set_timeout(SSL_CTX *, long)
    int SSL_CTX_set_generate_session_id(SSL_CTX *, int (*)(SSL *, unsigned char *, unsigned int *) noexcept)
    void SSL_CTX_set_not_resumable_session_callback(SSL_CTX *, int (*)(SSL *, int) noexcept)
    void SSL_CTX_sess_set_remove_cb(SSL_CTX *, void (*)(SSL_CTX *, SSL_SESSION *) noexcept)
    int SSL_CTX_set_app_data(SSL_CTX *, void *)
    void *SSL_CTX_get_app_data(const SSL_CTX *)
    int SSL_CTX_set_max_early_data(SSL_CTX *, uint32_t)
    int SSL_CTX_set_num_tickets(SSL_CTX *, size_t)
    int SSL_CTX_use_certificate(SSL_CTX *, X509 *)
    int SSL_CTX_add1_chain_cert(SSL_CTX *, X509 *)
    int SSL_CTX_use_PrivateKey(SSL_CTX *, EVP_PKEY *)
    int SSL_CTX_check_private_key(const SSL_CTX *)
    void SSL_CTX_set1_cert_store(SSL_CTX *, X509_STORE *)
    int SSL_CTX_add_client_CA(SSL_CTX *, X509 *)
    void SSL_CTX_set_verify(SSL_CTX *, int, void *)
    int SSL_CTX_set_alpn_protos(SSL_CTX *, const unsigned char *, unsigned int)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *,
        int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *) noexcept,
        void *,
    )
    void SSL_CTX_set_tlsext_servername_callback(SSL_CTX *, int (*)(SSL *, int *, void *) noexcept)
    X509 *SSL_CTX_get0_certificate(const SSL_CTX *)
    void SSL_CTX_set_tlsext_status_arg(SSL_CTX *, void *)
    void SSL_CTX_set_tlsext_status_cb(SSL_CTX *, int (*)(SSL *, void *) noexcept)
    void SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *,
        int (*)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int) noexcept,
    )
    int SSL_CTX_set_session_ticket_cb(
        SSL_CTX *,
        int (*)(SSL *, void *) noexcept,
        int (*)(SSL *, SSL_SESSION *, const unsigned char *, size_t, int, void *) noexcept,
        void *,
    )
    void SSL_CTX_sess_set_new_cb(SSL_CTX *, int (*)(SSL *, SSL_SESSION *) noexcept)
    void SSL_CTX_sess_set_get_cb(SSL_CTX *, SSL_SESSION *(*)(SSL *, const unsigned char *, int, int *) noexcept)
    void SSL_CTX_set_client_hello_cb(SSL_CTX *, int (*)(SSL *, int *, void *) noexcept, void *)
    size_t SSL_client_hello_get0_session_id(SSL *, const unsigned char **)
    const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *, unsigned int *)
    SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **, const unsigned char **, long)
    int i2d_SSL_SESSION(const SSL_SESSION *, unsigned char **)

    SSL *SSL_new(SSL_CTX *)
    void SSL_free(SSL *)
    int SSL_set_app_data(SSL *, void *)
    void *SSL_get_app_data(const SSL *)
    int SSL_get_ex_new_index(long, void *, void *, void *, void *)
    int SSL_CTX_get_ex_new_index(long, void *, void *, void *, void *)
    int SSL_CTX_set_ex_data(SSL_CTX *, int, void *)
    void *SSL_CTX_get_ex_data(const SSL_CTX *, int)
    int SSL_set_ex_data(SSL *, int, void *)
    int SSL_SESSION_get_ex_new_index(long, void *, void *, void *, void *)
    int SSL_SESSION_set_ex_data(SSL_SESSION *, int, void *)
    void *SSL_SESSION_get_ex_data(const SSL_SESSION *, int)
    void *SSL_get_ex_data(const SSL *, int)
    SSL_CTX *SSL_set_SSL_CTX(SSL *, SSL_CTX *)
    int SSL_is_server(const SSL *)
    void SSL_set_accept_state(SSL *)
    void SSL_set_connect_state(SSL *)
    void SSL_set_bio(SSL *, BIO *, BIO *)
    void SSL_set_msg_callback(SSL *, void (*)(int, int, int, const void *, size_t, SSL *, void *) noexcept)
    long SSL_set_msg_callback_arg(SSL *, void *)
    int SSL_do_handshake(SSL *)
    int SSL_read_ex(SSL *, void *, size_t, size_t *)
    int SSL_write_ex(SSL *, const void *, size_t, size_t *)
    int SSL_pending(const SSL *)
    int SSL_get_error(const SSL *, int)
    int SSL_shutdown(SSL *)
    void SSL_set_shutdown(SSL *, int)
    int SSL_version(const SSL *)
    const char *SSL_get_version(const SSL *)
    const char *SSL_get_cipher_name(const SSL *)
    int SSL_session_reused(const SSL *)
    long SSL_get_verify_result(const SSL *)
    X509 *SSL_get_certificate(const SSL *)
    X509 *SSL_get0_peer_certificate(const SSL *)
    const char *SSL_get_servername(const SSL *, int)
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *)
    int SSL_select_next_proto(
        unsigned char **, unsigned char *, const unsigned char *, unsigned int, const unsigned char *, unsigned int
    )
    int SSL_set_tlsext_host_name(SSL *, const char *)
    int SSL_set1_host(SSL *, const char *)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *)
    long SSL_set_tlsext_status_ocsp_resp(SSL *, unsigned char *, long)
    int SSL_client_hello_get0_ext(SSL *, unsigned int, const unsigned char **, size_t *)
    int SSL_new_session_ticket(SSL *)
    SSL_SESSION *SSL_get_session(const SSL *)
    int SSL_set_session(SSL *, SSL_SESSION *)
    int SSL_SESSION_set1_id(SSL_SESSION *, const unsigned char *, unsigned int)
    void SSL_SESSION_free(SSL_SESSION *)
    int SSL_SESSION_is_resumable(const SSL_SESSION *)
    long SSL_SESSION_set_time(SSL_SESSION *, long)
    long SSL_SESSION_set_timeout(SSL_SESSION *, long)
    int SSL_SESSION_set1_ticket_appdata(SSL_SESSION *, const void *, size_t)
    int SSL_SESSION_get0_ticket_appdata(SSL_SESSION *, void **, size_t *)
