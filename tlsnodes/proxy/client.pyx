"""The client's side of the proxy: requests in, scheduled one by one, responses out."""

from ipaddress import ip_address

import structlog

from pentaflow.addresses import with_port
from tlsnodes.access_log import Access
from tlsnodes.http.encode import last_chunk
from tlsnodes.http.forwarding import ClientFields
from tlsnodes.http.answers import own_response
from tlsnodes.http.proxy_protocol import TlsFacts, proxy_header
from tlsnodes.http.redirect import https_location

from libc.stdint cimport uint8_t

from tlsnodes.http.encode cimport client_body, request_octets, response_octets, write_chunk_line
from tlsnodes.http.fields cimport Span
from tlsnodes.http.heads cimport BODY_CHUNKED, BODY_NONE, BODY_UNTIL_CLOSE, Body, RequestHead, ResponseHead
from tlsnodes.http.reader cimport DATA, END, HEAD, NEED_MORE, Event, RequestReader
from tlsnodes.proxy.server cimport Backend, Requester, ServerConnection
from tlsnodes.stream.stream cimport FAILED, PEER_CLOSED, Stream
from tlsnodes.tls.openssl cimport SSL_get_version, SSL_session_reused

LINGER_S = 2.0
"""How long a connection that we closed is read on: closing with unread input would reset it under our last words."""

cdef double _LINGER_S = LINGER_S
cdef frozenset _IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110, 9.2.2
cdef bytes _CRLF = b"\r\n"
cdef bytes _RETRY_AFTER = b"Retry-After: 1\r\n"

_log = structlog.get_logger()


cdef class ClientConnection(Stream):
    """One client's connection, over TLS or plain.

    Requests are served one at a time; what the client sends ahead is held, and it is not read from until that is
    used up, so that the memory held is bounded by what one read brings.
    """

    cdef int begin(self, VserverProxy vserver, int fd, bytes address, int port) except -1:
        """Serve whoever was accepted; the connection is closed at once when there is no room for it."""
        self.vserver = vserver
        self.port = port
        self.address = address
        self.progress_at = -1
        if vserver.tls is None:
            self.phase = IDLE
            self.deadline = vserver.poller.now + vserver.header_s
        else:
            self.phase = SECURING
            self.deadline = vserver.poller.now + vserver.handshake_s
        self.attach(vserver.poller, fd, vserver.tls)
        if not vserver.admit(self, address):
            self.abort()
        return 0

    @property
    def client(self):
        """Its address and port, packed."""
        return self.address + self.port.to_bytes(2, "big")

    @property
    def peer(self):
        """The client's address, as text."""
        if self.peer_text is None:
            self.peer_text = str(ip_address(self.address)) if self.address else "unknown"
        return self.peer_text

    def proxy_header(self, destination):
        """What a server is told first that speaks the PROXY protocol; `destination`: where the client connected to."""
        known = self.handshake
        tls = None
        if known is not None:
            tls = TlsFacts(
                version=known.version,
                server_name=known.server_name or "",
                alpn=known.protocol or "",
                certificate_verified=self.peer_der() is not None,
                resumed=known.resumed,
            )
        return proxy_header((self.peer, self.port), destination, tls=tls)

    # ---- what the poller calls

    cdef void on_open(self) noexcept:
        cdef VserverProxy vserver = self.vserver
        if self.phase != SECURING:
            return
        if SSL_session_reused(self.ssl):
            vserver.statistics.handshakes_resumed += 1
        else:
            vserver.statistics.handshakes_full += 1
        self.phase = IDLE
        self.deadline = vserver.poller.now + vserver.header_s

    cdef void on_readable(self) noexcept:
        try:
            self.read()
        except Exception as error:
            self.fault(error)

    cdef void on_writable(self) noexcept:
        cdef Exchange exchange = self.exchange
        try:
            if exchange is not None and exchange.active and exchange.connection is not None:
                exchange.connection.resume()
                if self.phase == TUNNEL:
                    exchange.tunnel_over()
            elif self.phase == LINGER and self.input_over:
                self.end()
        except Exception as error:
            self.fault(error)

    cdef void on_lost(self) noexcept:
        try:
            if self.phase == SECURING:
                self.vserver.handshake_failed(self.failure)
            self.end()
        except Exception as error:
            self.fault(error)

    cdef int fault(self, error) except -1:
        """An error of ours costs this connection only."""
        _log.error("internal error", vserver=self.vserver.name, client=self.peer, exc_info=error)
        self.abort()
        return self.end()

    # ---- what the vserver calls

    def sweep(self, double now):
        """End what takes too long or comes too slowly; called every now and then."""
        try:
            if now >= self.deadline:
                self.pass_deadline()
            elif self.phase == EXCHANGE or (self.unsent > 0 and self.phase != TUNNEL):
                self.check_rate(now)
        except Exception as error:
            self.fault(error)

    def drain(self):
        """Close after the response in progress, or now if there is none."""
        if self.phase == EXCHANGE:
            if self.exchange.status == 0:
                self.exchange.keep_alive = False
        elif self.phase == IDLE:
            self.close_in_order()

    def cut(self):
        """Close at once, so that the client sees that its response was cut short."""
        self.abort()
        self.end()

    cdef int pass_deadline(self) except -1:
        cdef Exchange exchange = self.exchange
        cdef ServerConnection connection
        if self.phase == SECURING:
            self.vserver.handshake_failed("not finished")
            self.cut()
        elif self.phase == IDLE:
            self.close_in_order()
        elif self.phase == REQUEST_HEAD:
            self.refuse(408, "the request header took too long")
        elif self.phase == LINGER:
            if self.unsent > 0:
                self.cut()
            else:  # the kernel goes on to deliver what it has taken
                self.end()
        elif self.phase == TUNNEL:
            self.cut()
        elif exchange.status != 0:
            if self.unsent == 0:  # it is not the client that is waited for
                exchange.server_failed("the rest of the response did not come in time", False)
            else:
                self.cut()
        elif not exchange.ready:
            connection = exchange.connection
            exchange.connection = None
            connection.discard()
            exchange.server_unreachable("timed out")
        elif exchange.request_done or exchange.connection.unsent > 0:
            self.vserver.pool.failed(exchange.server, self.vserver.poller.now)
            self.refuse(504, f"server {exchange.server.name} did not answer in time")
        else:
            self.refuse(408, "the request body took too long")
        return 0

    cdef int check_rate(self, double now) except -1:
        """Whoever sends a body or takes a response must not do so too slowly [N5]."""
        cdef Exchange exchange = self.exchange
        cdef VserverProxy vserver = self.vserver
        cdef long long moved
        if self.unsent > 0:
            # Of what the socket took, what the client has taken counts: there is room for megabytes in between.
            moved = (0 if exchange is None else exchange.sent) - self.unsent - self.undelivered()
        elif self.phase == EXCHANGE and exchange.takes_more() and not self.held:
            moved = exchange.received
        else:  # nobody waits for the client
            self.progress_at = -1
            return 0
        if self.progress_at < 0:
            self.progress = moved
            self.progress_at = now
        elif now - self.progress_at >= vserver.min_rate_after_s:
            if moved - self.progress < vserver.min_rate * (now - self.progress_at):
                vserver.statistics.too_slow += 1
                if self.phase != EXCHANGE or exchange.status != 0:
                    self.cut()
                else:
                    self.refuse(408, "the request body came too slowly")
                return 0
            if moved > self.progress and self.deadline < now + vserver.response_s:
                self.deadline = now + vserver.response_s
            self.progress = moved
            self.progress_at = now
        return 0

    # ---- input

    cdef int read(self) except -1:
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size
        while self.readable and not self.input_over:
            if self.held or self.server_is_slow():
                return 0
            size = self.receive(&data)
            if size > 0:
                if self.phase == TUNNEL:
                    self.exchange.tunnel_up(data, size)
                elif self.phase != LINGER:
                    if self.reader is None:
                        self.reader = RequestReader(self.vserver.head_limits)
                    self.reader.give(data, size)
                    self.take_requests()
            elif self.state == PEER_CLOSED:
                self.input_ended()
            elif not self.readable:
                break
        return 0

    cdef bint server_is_slow(self) noexcept:
        """What comes next could not be passed on now."""
        if self.phase == EXCHANGE:
            return not self.exchange.takes_more() and not self.exchange.request_done
        return self.phase == TUNNEL and self.exchange.connection.unsent > 0

    cdef int take_requests(self) except -1:
        """Act on what the reader has, as far as its time has come; the rest is kept."""
        cdef RequestReader reader = self.reader
        cdef Exchange exchange = self.exchange
        cdef Event event
        if self.taking:  # from within: the loop below goes on
            return 0
        self.taking = True
        self.held = False
        try:
            while self.phase < TUNNEL:
                if self.phase == EXCHANGE and not exchange.takes_more():
                    self.held = reader.pending() > 0 or not exchange.request_done
                    break
                event = reader.next()
                if event == NEED_MORE:
                    if self.phase == IDLE and reader.pending() > 0:
                        self.phase = REQUEST_HEAD
                        self.deadline = self.vserver.poller.now + self.vserver.header_s
                    break
                if event == HEAD:
                    if exchange is None:
                        exchange = self.exchange = Exchange(self)
                    self.phase = EXCHANGE
                    exchange.begin(reader.head)
                    if exchange.request_done:  # there is no body: END is next
                        reader.next()
                elif event == DATA:
                    exchange.request_data(reader.data, reader.size)
                elif event == END:
                    exchange.request_end()
                else:
                    self.vserver.statistics.bad_requests += 1
                    self.refuse(reader.violation.status, reader.violation.sentence)
        finally:
            self.taking = False
        if self.phase == EXCHANGE and exchange.ready:
            exchange.connection.flush()
        reader.keep_rest()
        if self.input_over and not self.held:
            self.input_ended()
        return 0

    cdef int go_on(self) except -1:
        """What was held may go on: the server is ready for more, or the exchange is over."""
        if self.phase == TUNNEL:
            if self.held:  # sent before the answer: it belongs to the other protocol
                self.held = False
                self.reader.tunnel()
                if self.reader.next() == DATA:
                    self.exchange.tunnel_up(self.reader.data, self.reader.size)
                self.reader.keep_rest()
        elif self.held:
            self.take_requests()
        if self.readable and not self.taking:
            self.read()
        return 0

    cdef int await_request(self) except -1:
        """The response is whole and the connection stays."""
        cdef VserverProxy vserver = self.vserver
        self.phase = IDLE
        self.deadline = vserver.poller.now + vserver.keepalive_s
        if not self.held and (vserver.draining or self.input_over):
            return self.close_in_order()
        return self.go_on()

    cdef int input_ended(self) except -1:
        """Nothing more comes from the client: what it asked for whole is still answered."""
        self.input_over = True
        if self.held:
            return 0
        if self.phase == LINGER:
            if self.unsent == 0:
                self.end()
        elif self.phase == TUNNEL:
            self.exchange.connection.finish()
            self.exchange.half_ended()
            self.exchange.tunnel_over()
        elif self.phase != EXCHANGE:
            if self.phase == REQUEST_HEAD:
                self.log_unread(0, 0, "the client is gone")
            self.close_in_order()
        elif not self.exchange.request_done:
            self.cut()
        return 0

    cdef object fields_of_client(self):
        """What servers are told of the client."""
        if self.fields is None:
            self.fields = ClientFields(self.vserver.forwarding, self.peer, certificate=self.peer_der())
        return self.fields

    # ---- ends

    cdef int refuse(self, int status, str sentence, bytes extra=b"") except -1:
        """Answer the request ourselves, since something is not as it should be."""
        if self.phase == EXCHANGE and self.exchange.status != 0:
            self.cut()
            return 0
        self.vserver.refused(self.peer, status, sentence)
        return self.answer(status, sentence, extra, sentence)

    cdef int answer(self, int status, str sentence, bytes extra, str refused) except -1:
        """Respond to the request ourselves; the connection stays only if that request is whole."""
        cdef Exchange exchange = self.exchange
        cdef VserverProxy vserver = self.vserver
        cdef bint in_exchange = self.phase == EXCHANGE
        cdef bint keep_alive = False
        cdef bint to_head = False
        cdef bytes response
        if in_exchange:
            keep_alive = exchange.keep_alive and exchange.request_done
            to_head = exchange.head.method == b"HEAD"
        response = own_response(
            status, sentence, now=vserver.wall(), keep_alive=keep_alive, fields=extra + vserver.via
        )
        if to_head:
            response = response[:response.index(b"\r\n\r\n") + 4]
        if in_exchange:
            exchange.status = status
            exchange.answered_at = vserver.poller.now
            exchange.sent += len(response)
            exchange.detach(False, refused)
        else:
            self.log_unread(status, len(response), refused)
        self.write(<const uint8_t *>response, len(response))
        if keep_alive:
            self.flush()
            return self.await_request()
        return self.close_in_order()

    cdef int log_unread(self, int status, long long sent, str refused) except -1:
        """Tell the log of a request whose head could not be read."""
        cdef VserverProxy vserver = self.vserver
        cdef double waited = 0
        if vserver.log is None:
            return 0
        if self.phase == REQUEST_HEAD:
            waited = vserver.poller.now - (self.deadline - vserver.header_s)
        vserver.log.add(Access(
            vserver.wall(), vserver.name, with_port(self.peer, self.port), self.tls_version(), b"", b"", b"",
            status, "", 0, sent, waited if status else None, waited, 0, refused, b"",
        ))
        return 0

    cdef str tls_version(self):
        """Empty without TLS."""
        return SSL_get_version(self.ssl).decode() if self.ssl is not NULL else ""

    cdef int close_in_order(self) except -1:
        """close_notify, end of output, then wait for the client to close."""
        self.phase = LINGER
        self.held = False
        self.finish()
        # What is still in the buffer gets the time that any part of a response gets.
        self.deadline = self.vserver.poller.now + (self.vserver.response_s if self.unsent > 0 else _LINGER_S)
        if self.input_over:
            if self.unsent == 0:
                self.end()
        elif self.readable and not self.taking:
            self.read()
        return 0

    cdef int end(self) except -1:
        """The connection is gone, and what it was about."""
        cdef Exchange exchange = self.exchange
        if self.phase == REQUEST_HEAD:
            self.log_unread(0, 0, "the client is gone")
        self.close()
        self.phase = LINGER
        self.input_over = True
        self.held = False
        if exchange is not None:
            self.exchange = None
            if exchange.active:
                exchange.detach(False, "the client is gone" if exchange.status == 0 else "cut")
            exchange.client = None
        self.vserver.ended(self)
        return 0


cdef class Exchange(Requester):
    """One request and its response; a client's connection uses the same object for all of its requests, in turn."""

    def __init__(self, ClientConnection client not None):
        self.client = client
        self.vserver = client.vserver

    # ---- the request

    cdef int begin(self, RequestHead head) except -1:
        """Choose a server for it and send it there, or refuse it."""
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        cdef double now = vserver.poller.now
        vserver.statistics.requests += 1
        vserver.in_progress += 1
        self.patience_s = vserver.response_s
        client.deadline = now + self.patience_s
        client.progress_at = -1
        self.active = True
        self.head = head
        self.server = None
        self.tried = ()
        self.ready = False
        self.request_done = head.length == 0 and head.body != BODY_CHUNKED
        self.keep_alive = head.keep_alive and not vserver.draining
        self.server_keep_alive = False
        self.status = 0
        self.started_at = now
        self.sent = self.received = 0
        if vserver.request_ids is not None:
            self.request_id = client.fields_of_client().maybe_request_id(head.claims) or vserver.request_ids.make()
        if vserver.in_progress > vserver.max_requests:
            return client.refuse(503, f"vserver {vserver.name} has as many requests as it may have", _RETRY_AFTER)
        if head.length > vserver.max_body:
            return client.refuse(413, f"a body of more than {vserver.max_body} bytes")
        if vserver.redirect is not None:
            return self.redirect()
        self.server, self.cookie = vserver.scheduler.choose(
            head.cookie, now, vserver.wall(), head.target, client.address
        )
        if self.server is None:
            return client.refuse(503, vserver.pool.refusal(), _RETRY_AFTER)
        vserver.pool.began(self.server)
        return self.connect()

    cdef int redirect(self) except -1:
        """Say where the same is found over TLS."""
        cdef VserverProxy vserver = self.vserver
        cdef int status = vserver.redirect.status
        cdef bytes location = https_location(self.head.authority, self.head.target, vserver.redirect.port)
        vserver.statistics.own_responses[status] += 1
        return self.client.answer(status, location.decode("latin-1"), b"Location: %b\r\n" % location, "")

    cdef int connect(self) except -1:
        """Send the request over an idle connection, or begin a new one."""
        cdef Backend backend = self.vserver.backends[self.server.id]
        cdef ServerConnection connection = backend.maybe_idle()
        cdef bytes preamble = None
        if connection is not None:
            self.connection = connection
            return self.send_head()
        self.client.deadline = self.vserver.poller.now + self.vserver.connect_s
        if backend.destination is not None:
            preamble = self.client.proxy_header(backend.destination)
        try:
            self.connection = backend.connect(self, preamble)
        except OSError as error:  # this is not the server's failure
            _log.error("cannot connect", vserver=self.vserver.name, error=error.strerror)
            self.connection = None
            for backend in self.vserver.backends.values():
                backend.close_idle(self.vserver.poller.now)
            return self.client.refuse(503, "this node has no socket left", _RETRY_AFTER)
        return 0

    cdef int send_head(self) except -1:
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        cdef ServerConnection connection = self.connection
        cdef RequestHead head = self.head
        cdef Span wire
        wire = request_octets(
            head,
            self.cookie,
            client.fields_of_client().lines(
                authority=head.authority, http_1_0=head.http_1_0, claims=head.claims, request_id=self.request_id
            ),
        )
        self.ready = True
        client.deadline = vserver.poller.now + vserver.response_s
        connection.begin(self, head)
        connection.write(wire.at, wire.size)
        if self.request_done or head.expects_continue:
            connection.flush()
        return 0

    cdef bint takes_more(self) noexcept:
        """The rest of the request may come."""
        return self.ready and not self.request_done and self.connection.unsent == 0

    cdef int request_data(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef ServerConnection connection = self.connection
        cdef VserverProxy vserver = self.vserver
        cdef uint8_t line[18]
        self.client.deadline = vserver.poller.now + vserver.response_s
        self.received += size
        if self.head.body == BODY_CHUNKED:
            if self.received > vserver.max_body:
                return self.client.refuse(413, f"a body of more than {vserver.max_body} bytes")
            connection.write(line, write_chunk_line(line, size))
            connection.write(data, size)
            connection.write(<const uint8_t *>_CRLF, 2)
        else:
            connection.write(data, size)
        return 0

    cdef int request_end(self) except -1:
        cdef bytes wire
        self.request_done = True
        if self.head.body == BODY_CHUNKED:
            wire = last_chunk(self.client.reader.trailers)
            self.connection.write(<const uint8_t *>wire, len(wire))
        return 0

    cdef bint may_repeat(self) noexcept:
        """Sending it once more does no harm, and nothing of it or its response is gone (RFC 9110, 9.2.2)."""
        return self.status == 0 and self.head.body == BODY_NONE and self.head.method in _IDEMPOTENT

    cdef int tunnel_up(self, const uint8_t *data, Py_ssize_t size) except -1:
        self.client.deadline = self.vserver.poller.now + self.patience_s
        self.received += size
        self.connection.write(data, size)
        self.connection.flush()
        return 0

    # ---- what the server's connection calls: see `Requester`

    cdef bint is_slow(self) noexcept:
        return self.client.unsent > 0

    cdef int server_ready(self) except -1:
        self.vserver.pool.connected(self.server)
        self.send_head()
        return self.client.go_on()

    cdef int server_unreachable(self, str reason) except -1:
        """Connect to another server, or answer that there is none."""
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        cdef double now = vserver.poller.now
        self.connection = None
        vserver.pool.connect_failed(self.server, now)
        if vserver.budget.allows(now):
            _log.warning("connect failed", vserver=vserver.name, server=self.server.name, error=reason)
        self.tried += (self.server.id,)
        other = vserver.pool.choose(now, self.tried, self.head.target, client.address)
        if other is None:
            return client.refuse(503, f"no server of pool {vserver.pool.name} can be reached", _RETRY_AFTER)
        vserver.pool.ended(self.server)
        vserver.pool.began(other)
        self.server = other
        return self.connect()

    cdef int server_writable(self) except -1:
        if self.client.phase == TUNNEL and self.client.input_over:
            return self.tunnel_over()
        return self.client.go_on()

    cdef int put(self, bytes wire) except -1:
        self.sent += len(wire)
        self.client.write(<const uint8_t *>wire, len(wire))
        return 0

    cdef int response_head(self, ResponseHead response) except -1:
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        cdef bint http_1_0 = self.head.http_1_0
        cdef Body body = client_body(response, http_1_0)
        cdef bytes via = vserver.via_1_0 if response.http_1_0 else vserver.via
        cdef tuple added = ()
        cdef Span wire
        client.deadline = vserver.poller.now + vserver.response_s
        if response.status < 200 and response.status != 101:
            if not http_1_0:
                wire = response_octets(response, via, True, False, added)
                client.write(wire.at, wire.size)
            return 0
        self.answered_at = vserver.poller.now
        self.status = response.status
        self.chunked = body == BODY_CHUNKED
        self.server_keep_alive = response.keep_alive and self.request_done
        # An answer before the request is whole: the rest of the request has nowhere to go.
        self.keep_alive = self.keep_alive and self.request_done and body != BODY_UNTIL_CLOSE
        if vserver.injection is not None and response.set_cookies:
            added = vserver.injection.read_response(response.set_cookies, self.server.id, vserver.wall())
            vserver.statistics.cookies_injected += len(added)
        wire = response_octets(response, via, self.keep_alive, http_1_0, added)
        self.sent += wire.size
        client.write(wire.at, wire.size)
        if response.status == 101:
            self.server_keep_alive = self.keep_alive = False
            client.phase = TUNNEL
            self.patience_s = vserver.tunnel_s
            client.deadline = vserver.poller.now + self.patience_s
        return 0

    cdef int response_data(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef ClientConnection client = self.client
        cdef uint8_t line[18]
        cdef Py_ssize_t length
        client.deadline = self.vserver.poller.now + self.patience_s
        self.sent += size
        if self.chunked:
            length = write_chunk_line(line, size)
            self.sent += length + 2
            client.write(line, length)
            client.write(data, size)
            client.write(<const uint8_t *>_CRLF, 2)
        else:
            client.write(data, size)
        return 0

    cdef int response_part_over(self) except -1:
        self.client.flush()
        return self.client.go_on() if self.client.phase == TUNNEL else 0

    cdef int response_end(self) except -1:
        cdef ClientConnection client = self.client
        cdef VserverProxy vserver = self.vserver
        cdef bint keep_alive = self.keep_alive
        if self.chunked:
            self.put(last_chunk(self.connection.reader.trailers if self.head.takes_trailers else b""))
        vserver.pool.answered(self.server, self.status, vserver.poller.now - self.started_at, vserver.poller.now)
        if keep_alive:
            client.flush()
        self.detach(self.server_keep_alive, "")
        if keep_alive:
            return client.await_request()
        return client.close_in_order()

    cdef int server_failed(self, str sentence, bint was_silent) except -1:
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        if was_silent and self.may_repeat():
            # The server closed an idle connection just when we used it.
            self.connection.discard()
            self.ready = False
            return self.connect()
        vserver.pool.failed(self.server, vserver.poller.now)
        if vserver.budget.allows(vserver.poller.now):
            _log.warning("bad response", vserver=vserver.name, server=self.server.name, error=sentence)
        if self.status != 0:
            client.cut()
            return 0
        return client.refuse(502, f"server {self.server.name}: {sentence}")

    cdef int tunnel_end(self) except -1:
        if self.connection.state == FAILED:
            self.client.cut()
            return 0
        self.client.finish()
        self.half_ended()
        return self.tunnel_over()

    cdef void half_ended(self) noexcept:
        """One side of the tunnel has ended: the other may go on, but not be silent as long."""
        self.patience_s = min(self.vserver.tunnel_s, self.vserver.response_s)
        self.client.deadline = self.vserver.poller.now + self.patience_s

    cdef int tunnel_over(self) except -1:
        """Once both sides have ended and all of it was delivered, so does the connection."""
        cdef ClientConnection client = self.client
        cdef ServerConnection connection = self.connection
        if client.input_over and connection.input_over and client.unsent == 0 and connection.unsent == 0:
            self.detach(False, "")
            client.end()
        return 0

    # ---- its end

    cdef int detach(self, bint reusable, str refused) except -1:
        """Let go of the server, and tell the log."""
        cdef VserverProxy vserver = self.vserver
        cdef ServerConnection connection = self.connection
        self.active = False
        self.connection = None
        vserver.in_progress -= 1
        if connection is not None:
            if reusable:
                connection.release()
            else:
                connection.discard()
        if self.server is not None:
            vserver.pool.ended(self.server)
        if vserver.log is not None:
            vserver.log.add(self.describe(refused))
        return 0

    cdef object describe(self, str refused):
        cdef ClientConnection client = self.client
        cdef RequestHead head = self.head
        cdef double now = self.vserver.poller.now
        return Access(
            self.vserver.wall(),
            self.vserver.name,
            with_port(client.peer, client.port),
            client.tls_version(),
            head.method,
            head.authority,
            head.target,
            self.status,
            "" if self.server is None else self.server.name,
            self.received,
            self.sent,
            self.answered_at - self.started_at if self.status else None,
            now - self.started_at,
            len(self.tried),
            refused,
            self.request_id or b"",
        )
