"""Settings of TLS connections on OpenSSL: see binding.pxd. The policy is in tlsnodes.tls.context.

OpenSSL calls the functions below with an SSL, whose application data is the settings that made it (borrowed: the
stream that owns the SSL holds them). They run with the interpreter's lock held, as everything that calls OpenSSL does,
and never raise.
"""

from ipaddress import ip_address

from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from tlsnodes.tls.errors import AuthorityError, CertificateError, PrivateKeyError, RevocationListError

from tlsnodes.tls.openssl cimport *

cdef const unsigned char *_PROTOCOLS = b"\x08http/1.1\x08http/1.0"
cdef enum:
    PROTOCOLS_SIZE = 18


cdef class TlsSettings:
    """Settings that TLS connections of one side begin with."""

    def __dealloc__(self):
        SSL_CTX_free(self.context)

    cdef SSL *begin(self) except NULL:
        raise TypeError("these are the settings of no side")

    def set_policy(self, *, int minimum_version, bytes ciphers_1_2, bytes ciphers_1_3, bytes groups):
        """Versions, cipher suites and groups, in OpenSSL's words; no renegotiation, no compression, no early data.

        Raises:
            RuntimeError: OpenSSL does not know one of them.
        """
        _check(self)
        SSL_CTX_set_options(self.context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION)
        # Our order of suites, but ChaCha20 for clients that have it first: they have no hardware for AES.
        SSL_CTX_set_options(self.context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
        # What is idle holds no buffers. A certificate goes with the chain that was given: else OpenSSL would look for
        # one among the peers' authorities, in every handshake.
        SSL_CTX_set_mode(self.context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS)
        ERR_clear_error()
        if not (
            SSL_CTX_set_min_proto_version(self.context, minimum_version)
            and SSL_CTX_set_cipher_list(self.context, ciphers_1_2)
            and SSL_CTX_set_ciphersuites(self.context, ciphers_1_3)
            and SSL_CTX_set1_groups_list(self.context, groups)
            # A replayed early request would be served twice (RFC 8446, 8).
            and SSL_CTX_set_max_early_data(self.context, 0)
        ):
            raise RuntimeError(f"OpenSSL refuses the TLS policy: {_take_reason()}")

    def add_certificate(self, bytes certificate_pem not None, bytes key_pem not None):
        """Have a certificate, with its chain and key; a second one if its key is of another kind.

        Raises:
            CertificateError: no certificate in the PEM text, or one that OpenSSL's security level refuses.
            PrivateKeyError: no unencrypted key in the PEM text, or the key of another certificate.
        """
        _check(self)
        _use_chain(self.context, certificate_pem)
        _use_key(self.context, key_pem)

    def set_authorities(self, bytes authorities_pem not None, bytes crls_pem, *, bint required, bint names_sent):
        """Verify the peer's certificate against these authorities.

        Args:
            authorities_pem: one or more certificates.
            crls_pem: revocation lists, one for each authority that signs certificates of peers; None: not looked at.
            required: whether a peer that sends none is refused.
            names_sent: whether the authorities' names are sent (a server sends them, RFC 8446, 4.2.4).

        Raises:
            AuthorityError: there is none in the PEM text, or one of them cannot be read.
            RevocationListError: the same of the revocation lists.
        """
        cdef X509_STORE *store
        _check(self)
        store = X509_STORE_new()
        if store is NULL:
            raise MemoryError
        try:
            _add_authorities(store, self.context if names_sent else NULL, authorities_pem)
            if crls_pem is not None:
                _add_crls(store, crls_pem)
            SSL_CTX_set1_cert_store(self.context, store)
        finally:
            X509_STORE_free(store)
        SSL_CTX_set_verify(
            self.context, SSL_VERIFY_PEER | (SSL_VERIFY_FAIL_IF_NO_PEER_CERT if required else 0), NULL
        )


cdef class ServerSettings(TlsSettings):
    """The server's side of TLS connections."""

    def __cinit__(self):
        self.context = SSL_CTX_new(TLS_server_method())
        if self.context is NULL:
            raise MemoryError
        self.ocsp_responses = {}
        # Sessions are resumed by ticket, by any process that has the key; none is kept here.
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_num_tickets(self.context, 1)
        SSL_CTX_set_alpn_select_cb(self.context, _select_protocol, NULL)

    cdef SSL *begin(self) except NULL:
        cdef SSL *ssl = SSL_new(self.context)
        if ssl is NULL:
            raise MemoryError
        SSL_set_app_data(ssl, <void *>self)
        SSL_set_accept_state(ssl)
        return ssl

    def set_session_context(self, bytes identity not None):
        """What sessions are bound to, at most 32 bytes: one made under another identity is not resumed."""
        if SSL_CTX_set_session_id_context(self.context, identity, len(identity)) != 1:
            raise ValueError("a session context has at most 32 bytes")

    def set_chooser(self, object choose not None):
        """Have `choose(name)` say which settings' certificates a client gets that asks for a name; None: these."""
        self.choose = choose
        SSL_CTX_set_tlsext_servername_callback(self.context, _name_asked_for)

    def staple(self, bytes response not None):
        """Send this OCSP response (DER) with the certificate that was added last, to clients that ask for it."""
        self.ocsp_responses[<uintptr_t>SSL_CTX_get0_certificate(self.context)] = response
        SSL_CTX_set_tlsext_status_arg(self.context, <void *>self)
        SSL_CTX_set_tlsext_status_cb(self.context, _status_asked_for)


cdef class ClientSettings(TlsSettings):
    """The client's side of TLS connections."""

    def __cinit__(self):
        self.context = SSL_CTX_new(TLS_client_method())
        if self.context is NULL:
            raise MemoryError
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
        SSL_CTX_sess_set_new_cb(self.context, _keep_session)
        SSL_CTX_set_alpn_protos(self.context, b"\x08http/1.1", 9)


cdef class PeerSettings(TlsSettings):
    """What outgoing connections to one server have in common.

    Args:
        settings: the client's side.
        name: the DNS name, or the IP address, that the server's certificate must be for.
    """

    def __init__(self, ClientSettings settings not None, str name not None):
        self.settings = settings
        self.name = name.encode("idna")
        try:
            ip_address(name)
        except ValueError:
            self.is_address = False
        else:
            self.is_address = True

    def __dealloc__(self):
        SSL_SESSION_free(self.session)

    cdef SSL *begin(self) except NULL:
        cdef SSL *ssl
        cdef bint accepted
        if self.settings is None:
            raise TypeError("the settings of a peer were never made")
        ssl = SSL_new(self.settings.context)
        if ssl is NULL:
            raise MemoryError
        SSL_set_app_data(ssl, <void *>self)
        if self.is_address:
            accepted = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), self.name)
        else:
            accepted = SSL_set_tlsext_host_name(ssl, <const char *>self.name) and SSL_set1_host(ssl, self.name)
        if not accepted:
            SSL_free(ssl)
            raise MemoryError
        if self.session is not NULL and SSL_SESSION_is_resumable(self.session):
            SSL_set_session(ssl, self.session)
        SSL_set_connect_state(ssl)
        return ssl


cdef int _check(TlsSettings settings) except -1:
    if settings.context is NULL:
        raise TypeError(f"{type(settings).__name__} takes this from other settings")
    return 0


# ---- what OpenSSL calls


cdef int _select_protocol(
    SSL *ssl,
    const unsigned char **out,
    unsigned char *out_size,
    const unsigned char *offered,
    unsigned int offered_size,
    void *argument,
) noexcept:
    """RFC 7301: a client that wants none of ours is refused with no_application_protocol."""
    cdef unsigned char *selected
    if SSL_select_next_proto(
        &selected, out_size, _PROTOCOLS, PROTOCOLS_SIZE, offered, offered_size
    ) != OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    out[0] = selected
    return SSL_TLSEXT_ERR_OK


cdef int _name_asked_for(SSL *ssl, int *alert, void *argument) noexcept:
    cdef ServerSettings settings = <ServerSettings>SSL_get_app_data(ssl)
    cdef ServerSettings chosen
    cdef const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    if name is NULL:
        return SSL_TLSEXT_ERR_OK
    try:
        chosen = settings.choose((<bytes>name).decode("ascii", "replace"))
    except Exception:
        return SSL_TLSEXT_ERR_OK
    if chosen is not None and chosen is not settings:
        SSL_set_SSL_CTX(ssl, chosen.context)
    return SSL_TLSEXT_ERR_OK


cdef int _status_asked_for(SSL *ssl, void *argument) noexcept:
    """`argument`: the settings whose certificates were chosen from, held by those that the connection began with."""
    cdef ServerSettings settings = <ServerSettings>argument
    cdef bytes response = settings.ocsp_responses.get(<uintptr_t>SSL_get_certificate(ssl))
    cdef unsigned char *copy
    if response is None:
        return SSL_TLSEXT_ERR_NOACK
    copy = <unsigned char *>OPENSSL_malloc(len(response))
    if copy is NULL:
        return SSL_TLSEXT_ERR_NOACK
    memcpy(copy, <const unsigned char *>response, len(response))
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, len(response))
    return SSL_TLSEXT_ERR_OK


cdef int _keep_session(SSL *ssl, SSL_SESSION *session) noexcept:
    """The newest one is the one to resume; 1: it is ours now."""
    cdef PeerSettings peer = <PeerSettings>SSL_get_app_data(ssl)
    SSL_SESSION_free(peer.session)
    peer.session = session
    return 1


# ---- PEM


cdef BIO *_reader(bytes pem) except NULL:
    cdef BIO *bio = BIO_new_mem_buf(<const char *>pem, len(pem))
    if bio is NULL:
        raise MemoryError
    ERR_clear_error()
    return bio


cdef int _use_chain(SSL_CTX *context, bytes pem) except -1:
    cdef BIO *bio = _reader(pem)
    cdef X509 *certificate
    cdef int count = 0
    cdef int result
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)
            if certificate is NULL:
                break
            if count:
                result = SSL_CTX_add1_chain_cert(context, certificate)
            else:
                result = SSL_CTX_use_certificate(context, certificate)
            X509_free(certificate)
            if result != 1:
                raise CertificateError(f"certificate {count + 1} is refused: {_take_reason()}")
            count += 1
    finally:
        BIO_free(bio)
    reason = _take_reason()
    if count == 0:
        raise CertificateError("no PEM certificate in it")
    if reason != _NO_MORE:
        raise CertificateError(f"certificate {count + 1} cannot be read: {reason}")
    return 0


cdef int _use_key(SSL_CTX *context, bytes pem) except -1:
    cdef BIO *bio = _reader(pem)
    # The empty password keeps OpenSSL from asking for one on the terminal.
    cdef EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, b"")
    cdef bint accepted
    BIO_free(bio)
    if key is NULL:
        ERR_clear_error()
        raise PrivateKeyError("no unencrypted PEM private key in it")
    # The first does not mind a key of another kind than the certificate's.
    accepted = SSL_CTX_use_PrivateKey(context, key) == 1 and SSL_CTX_check_private_key(context) == 1
    EVP_PKEY_free(key)
    if not accepted:
        raise PrivateKeyError(f"not the key of the certificate: {_take_reason()}")
    return 0


cdef int _add_authorities(X509_STORE *store, SSL_CTX *named_by, bytes pem) except -1:
    cdef BIO *bio = _reader(pem)
    cdef X509 *certificate
    cdef int count = 0
    cdef bint accepted
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)
            if certificate is NULL:
                break
            accepted = X509_STORE_add_cert(store, certificate) == 1
            if accepted and named_by is not NULL:
                accepted = SSL_CTX_add_client_CA(named_by, certificate) == 1
            X509_free(certificate)
            if not accepted:
                raise AuthorityError(f"certificate {count + 1} is refused: {_take_reason()}")
            count += 1
    finally:
        BIO_free(bio)
    reason = _take_reason()
    if count == 0:
        raise AuthorityError("no PEM certificate in it")
    if reason != _NO_MORE:
        raise AuthorityError(f"certificate {count + 1} cannot be read: {reason}")
    return 0


cdef int _add_crls(X509_STORE *store, bytes pem) except -1:
    cdef BIO *bio = _reader(pem)
    cdef X509_CRL *crl
    cdef int count = 0
    cdef bint accepted
    try:
        while True:
            crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)
            if crl is NULL:
                break
            accepted = X509_STORE_add_crl(store, crl) == 1
            X509_CRL_free(crl)
            if not accepted:
                raise RevocationListError(f"revocation list {count + 1} is refused: {_take_reason()}")
            count += 1
    finally:
        BIO_free(bio)
    reason = _take_reason()
    if count == 0:
        raise RevocationListError("no PEM revocation list in it")
    if reason != _NO_MORE:
        raise RevocationListError(f"revocation list {count + 1} cannot be read: {reason}")
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK)
    return 0


_NO_MORE = "no start line"


cdef str _take_reason():
    """The reason of the oldest error in OpenSSL's queue, which is cleared."""
    cdef const char *reason = ERR_reason_error_string(ERR_peek_error())
    ERR_clear_error()
    return reason.decode() if reason is not NULL else "no reason given"
