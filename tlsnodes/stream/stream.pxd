"""A non-blocking TCP socket, plain or with TLS, whose bytes never become Python objects on their way.

    HANDSHAKING ──▶ OPEN ──▶ PEER_CLOSED          every state ──▶ FAILED ──▶ CLOSED
    connecting,     both     FIN or close_notify   failure says why     close() was called
    TLS handshake   ways     came; writing goes on

An accepted plain socket is OPEN at once. Buffers belong to the poller and are shared by its streams: an idle stream has
none, and what receive() returned holds until any stream of the poller receives again.
"""

from libc.stdint cimport uint8_t, uint32_t

from tlsnodes.stream.buffers cimport SharedBuffers
from tlsnodes.stream.key_updates cimport KeyUpdates
from tlsnodes.stream.poller cimport Poller, Watcher
from tlsnodes.tls.binding cimport TlsSettings
from tlsnodes.tls.openssl cimport SSL


cpdef enum StreamState:
    HANDSHAKING
    OPEN
    PEER_CLOSED
    FAILED
    CLOSED


cdef class Stream(Watcher):
    """One connection. Its hooks are called by the poller only, never by write(), flush(), finish() or close()."""

    cdef readonly StreamState state
    cdef readonly str failure  # why the state is FAILED, in a few words; None otherwise
    cdef readonly Py_ssize_t unsent  # bytes that the socket has not taken; while > 0 its writer stops reading
    cdef readonly bint readable  # receive() may have more; who stopped early goes on when he likes
    cdef readonly bint hung_up  # a FIN or RST was seen: there is an end to come, even if nobody reads now
    cdef public object handler  # for Python: the hooks below call methods of their names
    cdef public bytes preamble  # connect() sends it before everything else, unencrypted (PROXY protocol); or None
    cdef Poller poller
    cdef SharedBuffers buffers
    cdef SSL *ssl
    cdef TlsSettings tls
    cdef object certificate  # the peer's, once it was asked for
    cdef bint connecting
    cdef bint finishing  # FIN follows what is unsent
    cdef bint lost_told
    cdef KeyUpdates key_updates
    cdef bint paused  # the handshake waits for continue_handshake(), and nothing is read
    cdef StreamState next_state  # what receive() says after the bytes that came before it
    cdef uint8_t *rest  # the unsent bytes, of rest_room bytes; from rest_start on
    cdef Py_ssize_t rest_start
    cdef Py_ssize_t rest_room

    # Takes over an accepted, non-blocking socket; with `tls` its handshake begins when the client speaks.
    cpdef int attach(self, Poller poller, int fd, TlsSettings tls=*) except -1
    # Connects to a packed IPv4 or IPv6 address; on_open() or on_lost() follow. `tls` are a client's settings.
    cpdef int connect(self, Poller poller, bytes address, int port, TlsSettings tls=*) except -1

    # One recv into a shared buffer, decrypted. > 0: plaintext bytes at *data. 0: nothing now, look at the state.
    cdef Py_ssize_t receive(self, const uint8_t **data) noexcept
    # Gathers plaintext: small pieces share a record and a send. Nothing happens unless OPEN or PEER_CLOSED.
    cdef void write(self, const uint8_t *data, Py_ssize_t size) noexcept
    # Sends what was gathered; `unsent` is what the socket did not take of it, and is kept.
    cpdef void flush(self) noexcept
    # A new ticket of TLS 1.3, ahead of what is written next: it goes out with that. Nothing happens with TLS 1.2.
    cdef void issue_ticket(self) noexcept
    # Bytes that the socket has taken and the peer has not: a system call.
    cdef Py_ssize_t undelivered(self) noexcept
    # Sends close_notify and FIN after what is unsent. Reading goes on: linger, then close().
    cpdef void finish(self) noexcept
    # Closes the socket now, whatever is unsent. Never fails; a second time does nothing.
    cpdef void close(self) noexcept
    # close() with a RST.
    cpdef void abort(self) noexcept

    # The certificate that the peer has shown and that was verified, DER; None when there is none.
    cdef bytes peer_der(self)

    # Hooks, in the order in which they come. Each may close the stream.
    cdef void on_open(self) noexcept  # HANDSHAKING became OPEN; may write, must not receive
    cdef void on_readable(self) noexcept  # bytes or an end have come: receive() until it returns 0, now or later
    cdef void on_writable(self) noexcept  # `unsent` fell to 0
    cdef void on_lost(self) noexcept  # the state is FAILED: once, and not after close()
