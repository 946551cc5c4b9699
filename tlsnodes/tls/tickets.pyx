"""Session tickets of TLS: their keys and, inside the encryption, what binds a client to servers [P3]: see tickets.pxd.

OpenSSL calls the functions below with an SSL, whose application data is the settings that made it, and whose bearer,
if it has one, belongs to its connection: both are borrowed, and outlive it. They run with the interpreter's lock held
and never raise: what goes wrong costs a full handshake.

TLS 1.2 seals its ticket within the handshake, so a server is chosen there. In TLS 1.3 the ticket of a bearer is issued
once a server has answered its first request (`Stream.issue_ticket`), with the bearer's affinity by then.
"""

from hmac import compare_digest
from hmac import digest as hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from tlsnodes.persistence.affinity import Affinity, AffinityRefusal, ChosenBy, digest_of, name_digest
from tlsnodes.statistics import TicketOutcome

from libc.string cimport memcmp, memcpy
from libc.time cimport time

from tlsnodes.tls.openssl cimport *

cdef enum:
    TICKET_KEY_SIZE = 80
    KEY_NAME_SIZE = 16
    IV_SIZE = 16
    MAC_SIZE = 32

# In TLS 1.2, where a ticket serves many times, one with less than this part of its lifetime left is replaced.
cdef double _RENEW_BELOW = 0.75

# Looking a member up in its class costs more than counting it.
cdef int _FORGED = TicketOutcome.FORGED
cdef int _ISSUED = TicketOutcome.ISSUED
cdef int _RESUMED = TicketOutcome.RESUMED
cdef int _RETIRING_KEY = TicketOutcome.RETIRING_KEY
cdef int _SERVER_GONE = TicketOutcome.SERVER_GONE
cdef int _UNKNOWN_KEY = TicketOutcome.UNKNOWN_KEY
cdef dict _OUTCOMES = {refusal: TicketOutcome[refusal.name] for refusal in AffinityRefusal}

# Looked up once: OpenSSL 3 searches its providers each time.
cdef EVP_CIPHER *_ticket_cipher = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)
if _ticket_cipher is NULL:
    raise RuntimeError("OpenSSL has no AES-256-CBC")

cdef int _BEARER = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL)
if _BEARER < 0:
    raise RuntimeError("OpenSSL has no room for a connection's bearer")


cdef class TicketSettings(ServerSettings):
    """The server's side, with the keys of its tickets and what is said in them."""

    def __cinit__(self):
        self.ticket_keys = b""
        self.issues_tickets = True

    def set_ticket_keys(self, tuple keys not None, *, bint issues=True):
        """Encrypt tickets with the first of these keys and accept those of all; at any time, for handshakes to come.

        Each has 80 bytes: a name (16), the key of the HMAC with SHA-256 (32), the key of AES-256-CBC (32). They count
        whichever certificate a client gets: these settings' own, or what the chooser finds.

        Args:
            keys: newest first. If there were never any it is left to OpenSSL, with a key of this object's own.
            issues: otherwise no ticket is made, and any number of keys will do.

        Raises:
            ValueError: a key has another length.
        """
        for key in keys:
            if len(key) != TICKET_KEY_SIZE:
                raise ValueError(f"a ticket key has {TICKET_KEY_SIZE} bytes, not {len(key)}")
        if not keys and issues and self.ticket_keys:
            raise ValueError("ticket keys can be changed, but not be taken away")
        self.ticket_keys = b"".join(keys)
        self.issues_tickets = issues
        self.count_in_handshake()
        if keys or not issues:
            SSL_CTX_set_tlsext_ticket_key_evp_cb(self.context, _ticket_key)

    def set_tickets(self, codec not None, list counts not None, *, long lifetime_s, bint renew, bint late):
        """Say in each ticket whom it is for and whom it binds to which servers, and accept no others.

        Args:
            codec: the packed form (`AffinityCodec`).
            counts: where it is counted, by `TicketOutcome`.
            lifetime_s: of a ticket.
            renew: whether the end of a binding moves on when it is used.
            late: connections have bearers, so TLS 1.3 gives no ticket in the handshake.
        """
        self.codec = codec
        self.counts = counts
        self.lifetime_s = lifetime_s
        self.renew = renew
        self.late = late
        self.count_in_handshake()
        SSL_CTX_set_timeout(self.context, lifetime_s)
        SSL_CTX_set_session_ticket_cb(self.context, _write_ticket, _read_ticket, <void *>self)

    def read_ticket(self, bytes ticket not None, bytes digest, double now_s):
        """What a ticket binds its client to (`Affinity`), or why to nothing (`TicketOutcome`); that is not counted.

        Args:
            ticket: as its client shows it, laid out as RFC 5077, 4 recommends.
            digest: of the server name that the client asks for; None: of the one that the ticket is for.
            now_s: seconds since the epoch.
        """
        cdef const unsigned char *der
        cdef SSL_SESSION *session
        cdef Py_ssize_t at
        for at in range(0, len(self.ticket_keys), TICKET_KEY_SIZE):
            if self.ticket_keys[at : at + KEY_NAME_SIZE] == ticket[:KEY_NAME_SIZE]:
                break
        else:
            return TicketOutcome.UNKNOWN_KEY
        plain = _maybe_opened(ticket, self.ticket_keys[at : at + TICKET_KEY_SIZE])
        if plain is None:
            return TicketOutcome.FORGED
        der = plain
        session = d2i_SSL_SESSION(NULL, &der, len(plain))
        if session is NULL:
            ERR_clear_error()
            return TicketOutcome.MALFORMED
        try:
            packed = _data_of(session)
        finally:
            SSL_SESSION_free(session)
        found = self.codec.decode(packed, digest_of(packed) if digest is None else digest, now_s)
        return _OUTCOMES[found] if type(found) is AffinityRefusal else found

    cdef void count_in_handshake(self) noexcept:
        # In TLS 1.3 the callback comes too late to say that there is to be none.
        SSL_CTX_set_num_tickets(self.context, 1 if self.issues_tickets and not self.late else 0)


cdef class TicketBearer:
    """One connection whose tickets bind its client.

    Args:
        chooser: has `choose_for_ticket(address)`, an `Affinity` and its `ChosenBy`, or None when there is no server;
            and `serves(affinity)`, whether one of the servers may be used.
        address: of the client, packed.
    """

    def __init__(self, chooser, bytes address):
        self.chooser = chooser
        self.address = address

    cdef int hold(self, SSL *ssl) except -1:
        if SSL_set_ex_data(ssl, _BEARER, <void *>self) != 1:
            raise MemoryError
        return 0

    cdef bint may_issue(self, SSL *ssl) noexcept:
        return (<TicketSettings>SSL_get_app_data(ssl)).issues_tickets

    cdef int opened(self, SSL *ssl) except -1:
        if self.by is ChosenBy.TICKET and not SSL_session_reused(ssl):
            self.affinity = None  # OpenSSL has found another fault with the ticket
        return 0

    cdef object in_handshake(self, SSL *ssl):
        if self.by is ChosenBy.TICKET and not SSL_session_reused(ssl):
            self.affinity = None
        if self.affinity is None:
            chosen = self.chooser.choose_for_ticket(self.address)
            if chosen is not None:
                self.affinity, self.by = chosen
        return self.affinity


cdef TicketBearer bearer_of(SSL *ssl):
    cdef void *bearer = SSL_get_ex_data(ssl, _BEARER)
    return <TicketBearer>bearer if bearer is not NULL else None


cdef bytes _maybe_opened(bytes ticket, bytes key):
    """The session in a ticket; None: it was not made with that key."""
    cdef bytes sealed = ticket[:-MAC_SIZE], text = ticket[KEY_NAME_SIZE + IV_SIZE : -MAC_SIZE]
    if not text or len(text) % IV_SIZE or not compare_digest(hmac(key[16:48], sealed, "sha256"), ticket[-MAC_SIZE:]):
        return None
    cipher = Cipher(AES(key[48:]), CBC(ticket[KEY_NAME_SIZE : KEY_NAME_SIZE + IV_SIZE])).decryptor()
    padded = cipher.update(text) + cipher.finalize()
    return padded[: -padded[-1]]


# ---- what OpenSSL calls


cdef int _ticket_key(
    SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt
) noexcept:
    """1: done; 2: done, and give a new ticket; 0: no such key, or no ticket; -1: failed."""
    cdef TicketSettings settings = <TicketSettings>SSL_get_app_data(ssl)
    cdef const unsigned char *keys = settings.ticket_keys
    cdef Py_ssize_t left = len(settings.ticket_keys)
    cdef const unsigned char *key = keys
    cdef OSSL_PARAM parameters[3]
    if encrypt:
        if not settings.issues_tickets:
            return 0
        if RAND_bytes(iv, IV_SIZE) != 1:
            return -1
        memcpy(name, key, KEY_NAME_SIZE)
    else:
        while left and memcmp(name, key, KEY_NAME_SIZE) != 0:
            key += TICKET_KEY_SIZE
            left -= TICKET_KEY_SIZE
        if left == 0:
            return 0
    parameters[0] = OSSL_PARAM_construct_octet_string(b"key", <void *>(key + 16), 32)
    parameters[1] = OSSL_PARAM_construct_utf8_string(b"digest", b"sha256", 0)
    parameters[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, parameters) != 1:
        return -1
    if encrypt:
        return 1 if EVP_EncryptInit_ex2(cipher, _ticket_cipher, key + 48, iv, NULL) == 1 else -1
    if EVP_DecryptInit_ex2(cipher, _ticket_cipher, key + 48, iv, NULL) != 1:
        return -1
    # On 1.3 a ticket is for one use, and on 1.2 one of an old key is replaced.
    return 2 if settings.issues_tickets and (SSL_version(ssl) == TLS1_3_VERSION or key != keys) else 1


cdef int _write_ticket(SSL *ssl, void *settings) noexcept:
    """A ticket is about to be made of the session. One without our data resumes nothing."""
    try:
        _write(<TicketSettings>settings, ssl, SSL_get_session(ssl))
    except Exception:
        pass
    return 1


cdef int _write(TicketSettings settings, SSL *ssl, SSL_SESSION *session) except -1:
    cdef long now = time(NULL)
    cdef TicketBearer bearer = bearer_of(ssl)
    cdef const char *name
    cdef bytes digest, packed
    affinity = None
    if bearer is not None:
        affinity = bearer.affinity if SSL_version(ssl) == TLS1_3_VERSION else bearer.in_handshake(ssl)
    if affinity is None:
        affinity = Affinity((), now + settings.lifetime_s)
    elif settings.renew:
        affinity = Affinity(affinity.servers, now + settings.lifetime_s)
    if SSL_session_reused(ssl):  # OpenSSL does not always keep the name
        digest = digest_of(_data_of(session))
    else:
        name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
        digest = name_digest(<bytes>name if name is not NULL else b"")
    packed = settings.codec.encode(affinity, digest)
    SSL_SESSION_set_time(session, now)
    SSL_SESSION_set_timeout(session, max(affinity.expires_s - now, 1))
    if SSL_SESSION_set1_ticket_appdata(session, <const char *>packed, len(packed)) != 1:
        raise MemoryError
    if settings.issues_tickets:
        settings.counts[_ISSUED] += 1
    return 0


cdef int _read_ticket(
    SSL *ssl, SSL_SESSION *session, const unsigned char *key_name, size_t key_name_size, int status, void *argument
) noexcept:
    """A ticket came, or none did; whether its session is to be resumed, and a new ticket to be given."""
    cdef TicketSettings settings = <TicketSettings>argument
    try:
        if status == SSL_TICKET_SUCCESS or status == SSL_TICKET_SUCCESS_RENEW:
            return _read(settings, ssl, session, key_name, status == SSL_TICKET_SUCCESS_RENEW)
        if status == SSL_TICKET_NO_DECRYPT:
            if _knows(settings, key_name, key_name_size):
                settings.counts[_FORGED] += 1
            else:
                settings.counts[_UNKNOWN_KEY] += 1
    except Exception:
        pass
    return SSL_TICKET_RETURN_IGNORE_RENEW


cdef bint _knows(TicketSettings settings, const unsigned char *name, size_t size) except -1:
    cdef const unsigned char *keys = settings.ticket_keys
    cdef Py_ssize_t at
    if size == KEY_NAME_SIZE:
        for at in range(0, len(settings.ticket_keys), TICKET_KEY_SIZE):
            if memcmp(name, keys + at, KEY_NAME_SIZE) == 0:
                return True
    return False


cdef int _read(
    TicketSettings settings, SSL *ssl, SSL_SESSION *session, const unsigned char *key_name, bint renew
) except -1:
    cdef long now = time(NULL)
    cdef bint is_1_3 = SSL_version(ssl) == TLS1_3_VERSION
    cdef const unsigned char *keys = settings.ticket_keys
    cdef TicketBearer bearer = bearer_of(ssl)
    found = settings.codec.decode(_data_of(session), name_digest(name_asked_for(ssl)), now)
    if type(found) is AffinityRefusal:
        settings.counts[_OUTCOMES[found]] += 1
        return SSL_TICKET_RETURN_IGNORE_RENEW
    settings.counts[_RESUMED] += 1
    if settings.ticket_keys and memcmp(key_name, keys, KEY_NAME_SIZE) != 0:
        settings.counts[_RETIRING_KEY] += 1
    if bearer is not None:
        if bearer.chooser.serves(found):
            bearer.affinity = found
            bearer.by = ChosenBy.TICKET
        else:
            settings.counts[_SERVER_GONE] += 1
            bearer.affinity = None
            renew = True
    if settings.renew and found.expires_s - now < _RENEW_BELOW * settings.lifetime_s:
        renew = True
    return SSL_TICKET_RETURN_USE_RENEW if (renew or is_1_3) and settings.issues_tickets else SSL_TICKET_RETURN_USE


cdef bytes _data_of(SSL_SESSION *session):
    cdef void *data = NULL
    cdef size_t size = 0
    if SSL_SESSION_get0_ticket_appdata(session, &data, &size) != 1 or data is NULL:
        return b""
    return (<const char *>data)[:size]


cdef bytes name_asked_for(SSL *ssl):
    """The host name in the ClientHello (RFC 6066, 3), which OpenSSL has not read yet; empty: none, or more than one.

    While it reads a ticket the ClientHello is still there.
    """
    cdef const unsigned char *data
    cdef size_t size
    if SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1 or size < 5:
        return b""
    if data[2] != TLSEXT_NAMETYPE_host_name or <size_t>((data[3] << 8) + data[4]) != size - 5:
        return b""
    return (<const char *>data)[5:size]
