"""TLS 1.2 sessions by id, shared by all workers of all nodes [P7]: see sessions.pxd.

OpenSSL looks a session up while it reads the ClientHello, and can't wait then. So the look-up comes before: the
ClientHello callback finds an id that was issued for this vserver and that this worker has no copy of, asks the store
and has the handshake pause (SSL_CLIENT_HELLO_RETRY) until the stream goes on. What is not there by then is made anew.

The functions below are called as those of tlsnodes.tls.tickets are, with the context's first settings; they never
raise: what goes wrong costs a full handshake. Clients of TLS 1.3, and those with a ticket, send ids that mean nothing.
"""

from tlsnodes.persistence.affinity import ChosenBy, name_digest
from tlsnodes.store.tls_sessions import MAX_AGE_S

from libc.string cimport memcpy

from tlsnodes.tls.binding cimport ServerSettings
from tlsnodes.tls.openssl cimport *
from tlsnodes.tls.tickets cimport TicketBearer, bearer_of, name_asked_for

cdef enum:
    ID_SIZE = 32

cdef int _STREAM = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL)
cdef int _ASKED = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL)
cdef int _SHARED = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL)
cdef int _SETTINGS = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL)
if min(_STREAM, _ASKED, _SHARED, _SETTINGS) < 0:
    raise RuntimeError("OpenSSL has no room for what is known of sessions")


cdef class SessionSettings(TicketSettings):
    """The server's side, with sessions that others share."""

    def share_sessions(self, sessions not None, list others not None):
        """Issue session ids in TLS 1.2 to clients without tickets, and resume what any worker of any node has issued.

        Args:
            sessions: what is asked and told (`SharedSessions`).
            others: settings that these may be exchanged for by the name that a client asks for.
        """
        cdef ServerSettings each
        self.sessions = sessions
        for each in (self, *others):
            SSL_CTX_set_session_cache_mode(each.context, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)
        if SSL_CTX_set_ex_data(self.context, _SETTINGS, <void *>self) != 1:
            raise MemoryError
        if SSL_CTX_set_generate_session_id(self.context, _make_id) != 1:
            raise RuntimeError("OpenSSL takes no session ids of ours")
        SSL_CTX_set_client_hello_cb(self.context, _hello, NULL)
        SSL_CTX_sess_set_get_cb(self.context, _find)
        SSL_CTX_sess_set_new_cb(self.context, _keep)
        SSL_CTX_sess_set_remove_cb(self.context, _remove)

    cdef int follow(self, SSL *ssl, stream) except -1:
        if self.sessions is not None and SSL_set_ex_data(ssl, _STREAM, <void *>stream) != 1:
            raise MemoryError
        return 0

    cdef int opened(self, SSL *ssl) except -1:
        if self.sessions is not None and SSL_version(ssl) == TLS1_2_VERSION and SSL_session_reused(ssl):
            self.sessions.used(_id_of(SSL_get_session(ssl)))
        return 0


cdef bytes _id_of(const SSL_SESSION *session):
    cdef unsigned int size = 0
    cdef const unsigned char *data = SSL_SESSION_get_id(session, &size)
    return (<const char *>data)[:size]


# ---- what OpenSSL calls


cdef int _make_id(SSL *ssl, unsigned char *made, unsigned int *size) noexcept:
    cdef bytes text
    try:
        text = (<SessionSettings>SSL_get_app_data(ssl)).sessions.make_id()
    except Exception:
        return 0
    memcpy(made, <const unsigned char *>text, ID_SIZE)
    size[0] = ID_SIZE
    return 1


cdef int _hello(SSL *ssl, int *alert, void *argument) noexcept:
    """A ClientHello has come, or is looked at again after a pause."""
    cdef SessionSettings settings = <SessionSettings>SSL_get_app_data(ssl)
    cdef const unsigned char *data = NULL
    cdef size_t size
    cdef void *stream = SSL_get_ex_data(ssl, _STREAM)
    if stream is NULL or SSL_get_ex_data(ssl, _ASKED) is not NULL:
        return SSL_CLIENT_HELLO_SUCCESS
    size = SSL_client_hello_get0_session_id(ssl, &data)
    if size == 0 or _has_other_means(ssl):
        return SSL_CLIENT_HELLO_SUCCESS
    try:
        if settings.sessions.must_wait((<const char *>data)[:size], (<object>stream).continue_handshake):
            if SSL_set_ex_data(ssl, _ASKED, <void *>settings) == 1:
                return SSL_CLIENT_HELLO_RETRY
    except Exception:
        pass
    return SSL_CLIENT_HELLO_SUCCESS


cdef bint _has_other_means(SSL *ssl) noexcept:
    """TLS 1.3, or a ticket: then the session id is only for show (RFC 8446, 4.1.2; RFC 5077, 3.4)."""
    cdef const unsigned char *data
    cdef size_t size, at
    if SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &data, &size) == 1 and size > 0:
        return True
    if SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &size) == 1:
        for at in range(1, size - 1 if size > 1 else 1, 2):
            if (data[at] << 8) + data[at + 1] == TLS1_3_VERSION:
                return True
    return False


cdef SSL_SESSION *_find(SSL *ssl, const unsigned char *data, int size, int *shared) noexcept:
    cdef SessionSettings settings = <SessionSettings>SSL_get_app_data(ssl)
    shared[0] = 0  # it is OpenSSL's
    try:
        return _maybe_session(settings, ssl, (<const char *>data)[:size])
    except Exception:
        return NULL


cdef SSL_SESSION *_maybe_session(SessionSettings settings, SSL *ssl, bytes session_id) except? NULL:
    cdef TicketBearer bearer = bearer_of(ssl)
    cdef const unsigned char *der
    cdef SSL_SESSION *made
    found = settings.sessions.maybe_session(
        session_id, name_digest(name_asked_for(ssl)), bearer.chooser.serves if bearer is not None else None
    )
    if found is None:
        return NULL
    affinity, session = found
    if bearer is not None:
        bearer.affinity = affinity
        bearer.by = ChosenBy.TICKET
    der = session
    made = d2i_SSL_SESSION(NULL, &der, len(session))
    if made is not NULL:
        SSL_SESSION_set_ex_data(made, _SHARED, <void *>settings)
    return made


cdef int _keep(SSL *ssl, SSL_SESSION *session) noexcept:
    """A session was made; 0: OpenSSL goes on to own it."""
    cdef SessionSettings settings = <SessionSettings>SSL_get_app_data(ssl)
    cdef unsigned int size = 0
    SSL_SESSION_get_id(session, &size)
    if SSL_version(ssl) == TLS1_2_VERSION and size == ID_SIZE:
        try:
            _share(settings, ssl, session)
        except Exception:
            pass
    return 0


cdef int _share(SessionSettings settings, SSL *ssl, SSL_SESSION *session) except -1:
    cdef TicketBearer bearer = bearer_of(ssl)
    cdef const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef unsigned char *der = NULL
    cdef int size
    affinity = bearer.in_handshake(ssl) if bearer is not None else None
    SSL_SESSION_set_timeout(session, MAX_AGE_S)
    size = i2d_SSL_SESSION(session, &der)
    if size <= 0:
        raise MemoryError
    try:
        settings.sessions.keep(
            _id_of(session),
            affinity.servers if affinity is not None else (),
            name_digest(<bytes>name if name is not NULL else b""),
            (<const char *>der)[:size],
        )
        SSL_SESSION_set_ex_data(session, _SHARED, <void *>settings)
    finally:
        OPENSSL_free(der)
    return 0


cdef void _remove(SSL_CTX *context, SSL_SESSION *session) noexcept:
    """A fatal alert was sent or received. Sessions that were not shared, of handshakes that fail, are nobody's loss."""
    cdef void *settings = SSL_CTX_get_ex_data(context, _SETTINGS)
    if settings is NULL or SSL_SESSION_get_ex_data(session, _SHARED) is NULL:
        return
    try:
        (<SessionSettings>settings).sessions.failed(_id_of(session))
    except Exception:
        pass
