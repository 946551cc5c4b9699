"""Streams: see stream.pxd for the states and for what a module that is compiled against it may call."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset, strerror
from posix.unistd cimport close as close_fd

from tlsnodes.tls.handshake import HandshakeInfo, PeerCertificate

from tlsnodes.stream.buffers cimport (
    OUT_FULL,
    PLAIN_SIZE,
    RECEIVE_SIZE,
    RECORD,
    Scratch,
    SharedBuffers,
    new_bio,
    put_out,
)
from tlsnodes.stream.key_updates cimport MAX_KEY_UPDATES, count_key_updates
from tlsnodes.stream.poller cimport Poller, Watcher
from tlsnodes.stream.sockets cimport *
from tlsnodes.tls.binding cimport TlsSettings
from tlsnodes.tls.openssl cimport *

cdef const char *_NO_REASON = b"TLS failed, and OpenSSL says no more"


cdef class Stream(Watcher):
    """A non-blocking TCP socket, plain or with TLS."""

    def __cinit__(self):
        self.state = CLOSED

    def __dealloc__(self):
        _release(self)

    # ---- beginning

    cpdef int attach(self, Poller poller, int fd, TlsSettings tls=None) except -1:
        _check_unused(self, poller, fd)
        try:
            _begin(self, poller, fd, tls)
            if tls is None:
                self.state = OPEN
            poller.add(self)
        except BaseException:
            self.close()
            raise
        return 0

    cpdef int connect(self, Poller poller, bytes address, int port, TlsSettings tls=None) except -1:
        cdef int fd
        if len(address) not in (4, 16):
            raise ValueError(f"a packed address has 4 or 16 bytes, not {len(address)}")
        _check_unused(self, poller, -1)
        fd = socket(AF_INET if len(address) == 4 else AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            raise OSError(errno, "socket")
        try:
            _begin(self, poller, fd, tls)
            self.connecting = True
            if not start_connecting(fd, address, port):
                _fail(self, strerror(errno))
            poller.add(self)
        except BaseException:
            self.close()
            raise
        return 0

    # ---- receiving

    cdef Py_ssize_t receive(self, const uint8_t **data) noexcept:
        cdef Scratch *scratch
        cdef Py_ssize_t size
        if self.next_state != HANDSHAKING:
            self.state = self.next_state
            self.next_state = HANDSHAKING
            self.readable = False
            return 0
        while self.readable and self.state <= OPEN and not self.connecting:
            scratch = &self.buffers.scratch
            size = _take(self, scratch)
            if size <= 0:
                return 0
            data[0] = scratch.cipher_in
            if self.ssl is not NULL:
                data[0] = scratch.plain_in
                size = _decrypt(self, scratch, size)
            if size > 0:
                return size
        return 0

    # ---- sending

    cdef void write(self, const uint8_t *data, Py_ssize_t size) noexcept:
        cdef Scratch *scratch
        cdef Py_ssize_t part
        if size <= 0 or (self.state != OPEN and self.state != PEER_CLOSED) or self.finishing:
            return
        scratch = &self.buffers.scratch
        _claim(self)
        if self.ssl is NULL:
            if scratch.out_size + size <= RECORD:
                put_out(scratch, data, size)
            else:
                _send(self, scratch, data, size)
            return
        while size > 0:
            if scratch.gathered_size == 0 and size >= RECORD:
                part = RECORD
                _encrypt(self, scratch, data, part)
            else:
                part = min(size, <Py_ssize_t>(RECORD - scratch.gathered_size))
                memcpy(scratch.gathered + scratch.gathered_size, data, part)
                scratch.gathered_size += part
                if scratch.gathered_size == RECORD:
                    scratch.gathered_size = 0
                    _encrypt(self, scratch, scratch.gathered, RECORD)
            data += part
            size -= part
            if scratch.out_size >= OUT_FULL:
                _send(self, scratch, NULL, 0)
            if self.state == FAILED:
                return

    cpdef void flush(self) noexcept:
        if self.fd < 0 or self.buffers.owner is not self:
            return
        _encrypt_gathered(self, &self.buffers.scratch)
        if self.state != FAILED:
            _send(self, &self.buffers.scratch, NULL, 0)
        _disown(self)

    cdef void issue_ticket(self) noexcept:
        cdef int result
        if self.state != OPEN or self.finishing or self.ssl is NULL or SSL_version(self.ssl) != TLS1_3_VERSION:
            return
        _claim(self)
        _clear_errors()
        result = SSL_new_session_ticket(self.ssl)
        if result == 1:
            result = SSL_do_handshake(self.ssl)
            if result != 1:
                _tls_failed(self, &self.buffers.scratch)

    cdef Py_ssize_t undelivered(self) noexcept:
        cdef int size = 0
        if self.fd < 0 or ioctl(self.fd, SIOCOUTQ, &size) < 0:
            return 0
        return size

    cpdef void finish(self) noexcept:
        if self.fd < 0 or self.finishing or (self.state != OPEN and self.state != PEER_CLOSED):
            return
        if self.ssl is not NULL:
            _claim(self)
            _encrypt_gathered(self, &self.buffers.scratch)
            if self.state != FAILED:
                ERR_clear_error()
                SSL_shutdown(self.ssl)
                ERR_clear_error()
        self.flush()
        if self.state == FAILED:
            return
        self.finishing = True
        if self.unsent == 0 and self.state != FAILED:
            shutdown(self.fd, SHUT_WR)

    cpdef void close(self) noexcept:
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.readable = False
        self.next_state = HANDSHAKING
        self.unsent = 0
        _disown(self)
        self.poller.forget(self)
        _release(self)
        self.handler = None

    cpdef void abort(self) noexcept:
        cdef linger now
        if self.fd >= 0:
            now.l_onoff = 1
            now.l_linger = 0
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
        self.close()

    # ---- what the poller calls

    cdef void ready(self, uint32_t events) noexcept:
        if self.connecting and self.state != FAILED:
            if not events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                return
            _connected(self)
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.hung_up = True
        if events & EPOLLOUT and self.unsent and self.state != FAILED:
            _send_rest(self)
            if self.unsent == 0 and self.state != FAILED:
                self.on_writable()
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) and self.state <= OPEN:
            self.readable = not self.paused
        if self.readable and self.state <= OPEN:
            self.on_readable()
        elif events & EPOLLERR and self.state == PEER_CLOSED:
            _fail(self, b"reset by the peer")
        if self.state == FAILED and not self.lost_told:
            self.lost_told = True
            self.on_lost()

    def continue_handshake(self):
        """What the handshake has been waiting for is there."""
        if self.paused and self.state == HANDSHAKING:
            self.paused = False
            self.buffers.scratch.taken_size = 0
            _shake_hands(self, &self.buffers.scratch)
            self.readable = self.state == HANDSHAKING  # for what has come meanwhile
            self.poller.again(self)

    cdef void on_open(self) noexcept:
        if self.handler is not None:
            self.handler.on_open()

    cdef void on_readable(self) noexcept:
        if self.handler is not None:
            self.handler.on_readable()

    cdef void on_writable(self) noexcept:
        if self.handler is not None:
            self.handler.on_writable()

    cdef void on_lost(self) noexcept:
        if self.handler is not None:
            self.handler.on_lost()

    # ---- what the handshake found, once the state is OPEN

    @property
    def handshake(self):
        """What TLS agreed on; None without TLS."""
        cdef const char *name
        cdef const unsigned char *protocol
        cdef unsigned int protocol_size
        if self.ssl is NULL:
            return None
        name = SSL_get_servername(self.ssl, TLSEXT_NAMETYPE_host_name)
        SSL_get0_alpn_selected(self.ssl, &protocol, &protocol_size)
        return HandshakeInfo(
            version=SSL_get_version(self.ssl).decode(),
            cipher=SSL_get_cipher_name(self.ssl).decode(),
            resumed=bool(SSL_session_reused(self.ssl)),
            server_name=name.decode("ascii", "backslashreplace") if name is not NULL else None,
            protocol=(<const char *>protocol)[:protocol_size].decode() if protocol_size else None,
        )

    cdef bytes peer_der(self):
        cdef X509 *certificate
        cdef unsigned char *der = NULL
        cdef int size
        certificate = SSL_get0_peer_certificate(self.ssl) if self.ssl is not NULL else NULL
        if certificate is NULL:
            return None
        size = i2d_X509(certificate, &der)
        if size < 0:
            raise MemoryError
        try:
            return (<const char *>der)[:size]
        finally:
            OPENSSL_free(der)

    @property
    def peer_certificate(self):
        """The certificate that the peer has shown and that was verified, made once; None when there is none."""
        cdef bytes der
        if self.certificate is None:
            der = self.peer_der()
            if der is not None:
                self.certificate = PeerCertificate.from_der(der)
        return self.certificate

    # ---- for Python

    def read(self):
        """What receive() gives, as bytes; empty when there is nothing now."""
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size = self.receive(&data)
        return PyBytes_FromStringAndSize(<const char *>data, size)

    def put(self, bytes data not None):
        """Gather plaintext: see write()."""
        self.write(<const uint8_t *>data, len(data))


# ---- the parts of a stream's life


cdef int _check_unused(Stream stream, Poller poller, int fd) except -1:
    if poller is None:
        raise TypeError("a stream needs a poller")
    if stream.poller is not None:
        if fd >= 0:
            close_fd(fd)
        raise ValueError("a stream has one socket in its life")
    return 0


cdef int _begin(Stream stream, Poller poller, int fd, TlsSettings tls) except -1:
    cdef BIO *bio
    stream.fd = fd
    stream.poller = poller
    stream.state = HANDSHAKING
    if poller.shared is None:
        poller.shared = SharedBuffers()
    stream.buffers = poller.shared
    if tls is not None:
        stream.ssl = tls.begin()
        stream.tls = tls
        bio = new_bio(&stream.buffers.scratch)
        SSL_set_bio(stream.ssl, bio, bio)
        count_key_updates(stream.ssl, &stream.key_updates, &stream.buffers.scratch, &stream.poller.now)
    return 0


cdef void _release(Stream stream) noexcept:
    if stream.ssl is not NULL:
        # Without this OpenSSL takes the session for a broken one, not to be resumed.
        SSL_set_shutdown(stream.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(stream.ssl)
        stream.ssl = NULL
    free(stream.rest)
    stream.rest = NULL
    if stream.fd >= 0:
        close_fd(stream.fd)
        stream.fd = -1


cdef void _fail(Stream stream, const char *reason) noexcept:
    """FAILED from here on; on_lost() follows from the poller, in this turn of it or the next."""
    if stream.state >= FAILED:
        return
    stream.state = FAILED
    stream.failure = reason.decode("utf-8", "replace")
    stream.readable = False
    stream.unsent = 0
    free(stream.rest)
    stream.rest = NULL
    stream.poller.again(stream)


cdef void _connected(Stream stream) noexcept:
    """The socket is connected, or could not be."""
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if getsockopt(stream.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0:
        error = errno
    stream.connecting = False
    if error:
        _fail(stream, strerror(error))
        return
    if stream.preamble is not None:
        _claim(stream)
        if not put_out(&stream.buffers.scratch, stream.preamble, len(stream.preamble)):
            _fail(stream, b"out of memory")
            return
    if stream.ssl is NULL:
        stream.state = OPEN
        stream.on_open()
        stream.flush()
    else:
        _shake_hands(stream, &stream.buffers.scratch)


cdef Py_ssize_t _take(Stream stream, Scratch *scratch) noexcept:
    """One recv into scratch.cipher_in; 0 when there was nothing, and the state says what that means."""
    cdef Py_ssize_t size
    while True:
        size = recv(stream.fd, scratch.cipher_in, RECEIVE_SIZE, 0)
        if size > 0:
            # Less than there was room for: that was all, and the next byte makes an event; a FIN does not.
            stream.readable = size == RECEIVE_SIZE or stream.hung_up
            return size
        if size < 0 and errno == EINTR:
            continue
        break
    stream.readable = False
    if size == 0:
        if stream.ssl is NULL:
            stream.state = PEER_CLOSED
        elif stream.state == HANDSHAKING:
            _fail(stream, "closed during the handshake")
        else:
            _fail(stream, "closed without close_notify")
    elif errno != EAGAIN:
        _fail(stream, strerror(errno))
    return 0


# ---- TLS


cdef inline void _clear_errors() noexcept:
    # OpenSSL looks at the queue to tell what a result means. To look first is cheaper than to clear.
    if ERR_peek_error():
        ERR_clear_error()


cdef void _tls_failed(Stream stream, Scratch *scratch) noexcept:
    """The alert goes out if it can, and nothing after it."""
    # The oldest error is the cause, what follows is its echo.
    cdef const char *reason = ERR_reason_error_string(ERR_peek_error())
    cdef bint can_send = stream.unsent == 0
    scratch.taken_size = 0
    if SSL_get_verify_result(stream.ssl) != X509_V_OK:
        reason = X509_verify_cert_error_string(SSL_get_verify_result(stream.ssl))
    ERR_clear_error()
    _fail(stream, reason if reason is not NULL else _NO_REASON)
    if can_send:
        send(stream.fd, scratch.out, scratch.out_size, MSG_NOSIGNAL)
        shutdown(stream.fd, SHUT_WR)
    _disown(stream)


cdef bint _shake_hands(Stream stream, Scratch *scratch) noexcept:
    """As far as what has come allows; True when the handshake is over."""
    cdef int result, error
    cdef bint is_last
    _claim(stream)
    _clear_errors()
    result = SSL_do_handshake(stream.ssl)
    if result != 1:
        error = SSL_get_error(stream.ssl, result)
        if error == SSL_ERROR_WANT_CLIENT_HELLO_CB and scratch.taken_size == 0:
            stream.paused = True
            stream.readable = False
        elif error == SSL_ERROR_WANT_CLIENT_HELLO_CB:  # it stays with OpenSSL no longer than this
            _fail(stream, b"more than a ClientHello before it was answered")
            _disown(stream)
            return False
        elif error != SSL_ERROR_WANT_READ:
            _tls_failed(stream, scratch)
            return False
    if scratch.out_size:
        # In TLS 1.3 a server ends with a ticket, which nobody waits for: the kernel sends it with the first answer.
        is_last = result == 1 and SSL_is_server(stream.ssl) and SSL_version(stream.ssl) == TLS1_3_VERSION
        _send(stream, scratch, NULL, 0, MSG_MORE if is_last else 0)
    _disown(stream)
    return result == 1 and stream.state != FAILED


cdef Py_ssize_t _decrypt(Stream stream, Scratch *scratch, Py_ssize_t size) noexcept:
    """Take ciphertext from scratch.cipher_in; the plaintext is left in scratch.plain_in."""
    cdef int result = 1
    cdef int error
    cdef size_t part
    cdef Py_ssize_t plain_size = 0
    cdef bint opened = False
    scratch.taken = scratch.cipher_in
    scratch.taken_size = size
    if stream.state == HANDSHAKING:
        opened = _shake_hands(stream, scratch)
        if not opened:
            return 0
        stream.state = OPEN
    elif stream.buffers.owner is not None and stream.buffers.owner is not stream:
        _claim(stream)
    _clear_errors()
    # A record that is not whole yet stays with OpenSSL.
    while scratch.taken_size or SSL_pending(stream.ssl):
        result = SSL_read_ex(stream.ssl, scratch.plain_in + plain_size, PLAIN_SIZE - plain_size, &part)
        if result != 1:
            break
        plain_size += part
    scratch.taken_size = 0  # what came after close_notify, or after an error, is for nobody
    if stream.key_updates.count > MAX_KEY_UPDATES:
        scratch.out_size = 0
        _fail(stream, b"changes its keys too often")
        return 0
    if result != 1:
        error = SSL_get_error(stream.ssl, result)
        if error == SSL_ERROR_ZERO_RETURN:
            stream.next_state = PEER_CLOSED
            stream.readable = True
        elif error != SSL_ERROR_WANT_READ:
            _claim(stream)
            _tls_failed(stream, scratch)
            return 0
    if scratch.out_size and (stream.buffers.owner is None or stream.buffers.owner is stream):
        # An alert. A peer that asks for ever more of them and reads none would fill the memory.
        if stream.unsent > OUT_FULL:
            scratch.out_size = 0  # else it would go out to whoever sends next
            _fail(stream, b"asks for answers and does not read them")
            return 0
        _send(stream, scratch, NULL, 0)
    if opened:
        stream.on_open()
        if stream.state != OPEN:
            return 0
    if plain_size == 0 and stream.next_state != HANDSHAKING:
        stream.state = stream.next_state
        stream.next_state = HANDSHAKING
        stream.readable = False
    return plain_size


cdef void _encrypt(Stream stream, Scratch *scratch, const uint8_t *data, size_t size) noexcept:
    cdef size_t written
    _clear_errors()
    if SSL_write_ex(stream.ssl, data, size, &written) != 1:
        _tls_failed(stream, scratch)


cdef void _encrypt_gathered(Stream stream, Scratch *scratch) noexcept:
    cdef size_t size = scratch.gathered_size
    if size and stream.state != FAILED:
        scratch.gathered_size = 0
        _encrypt(stream, scratch, scratch.gathered, size)


# ---- output


cdef void _claim(Stream stream) noexcept:
    """The shared output is this stream's until it is flushed; another's goes out first."""
    cdef Stream owner = <Stream>stream.buffers.owner
    if owner is not stream:
        if owner is not None:
            owner.flush()
        stream.buffers.owner = stream


cdef void _disown(Stream stream) noexcept:
    if stream.buffers is not None and stream.buffers.owner is stream:
        stream.buffers.scratch.gathered_size = 0
        stream.buffers.scratch.out_size = 0
        stream.buffers.owner = None


cdef void _send(
    Stream stream, Scratch *scratch, const uint8_t *more, size_t more_size, int flags = 0
) noexcept:
    """One send of scratch.out and `more`, which is borrowed; what the socket does not take is kept."""
    cdef iovec parts[2]
    cdef msghdr message
    cdef Py_ssize_t sent = 0
    cdef size_t out_size = scratch.out_size
    scratch.out_size = 0
    if stream.unsent == 0:
        while out_size + more_size:
            if more_size == 0:
                sent = send(stream.fd, scratch.out, out_size, MSG_NOSIGNAL | flags)
            else:
                memset(&message, 0, sizeof(message))
                parts[0].iov_base = scratch.out
                parts[0].iov_len = out_size
                parts[1].iov_base = <void *>more
                parts[1].iov_len = more_size
                message.msg_iov = parts
                message.msg_iovlen = 2
                sent = sendmsg(stream.fd, &message, MSG_NOSIGNAL)
            if sent >= 0 or errno != EINTR:
                break
        if sent < 0:
            if errno != EAGAIN:
                _fail(stream, strerror(errno))
                return
            sent = 0
    if <size_t>sent < out_size:
        _keep(stream, scratch.out + sent, out_size - sent)
        sent = 0
    else:
        sent -= out_size
    if more_size > <size_t>sent:
        _keep(stream, more + sent, more_size - sent)


cdef void _keep(Stream stream, const uint8_t *data, Py_ssize_t size) noexcept:
    cdef uint8_t *moved
    cdef Py_ssize_t need = stream.rest_start + stream.unsent + size
    if stream.rest is NULL:
        stream.rest_start = stream.rest_room = 0
        need = size
    if need > stream.rest_room:
        moved = <uint8_t *>realloc(stream.rest, need)
        if moved is NULL:
            _fail(stream, "out of memory")
            return
        stream.rest = moved
        stream.rest_room = need
    memcpy(stream.rest + stream.rest_start + stream.unsent, data, size)
    stream.unsent += size


cdef void _send_rest(Stream stream) noexcept:
    cdef Py_ssize_t sent
    while stream.unsent:
        sent = send(stream.fd, stream.rest + stream.rest_start, stream.unsent, MSG_NOSIGNAL)
        if sent >= 0:
            stream.rest_start += sent
            stream.unsent -= sent
        elif errno == EAGAIN:
            return
        elif errno != EINTR:
            _fail(stream, strerror(errno))
            return
    free(stream.rest)
    stream.rest = NULL
    if stream.finishing:
        shutdown(stream.fd, SHUT_WR)
