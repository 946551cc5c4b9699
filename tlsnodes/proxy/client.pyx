"""The client's side of the proxy: its requests in, one by one; what becomes of each is in tlsnodes.proxy.exchange."""

import structlog

from pentaflow.addresses import with_port
from tlsnodes.access_log import Access
from tlsnodes.persistence.affinity import ChosenBy
from tlsnodes.http.forwarding import ClientFields
from tlsnodes.http.answers import own_response
from tlsnodes.http.proxy_protocol import TlsFacts, proxy_header

from libc.stdint cimport uint8_t

from tlsnodes.http.reader cimport DATA, END, HEAD, NEED_MORE, Event, RequestReader
from tlsnodes.proxy.base cimport address_text
from tlsnodes.proxy.exchange cimport Exchange
from tlsnodes.proxy.server cimport ServerConnection
from tlsnodes.proxy.vserver cimport VserverProxy
from tlsnodes.stream.stream cimport PEER_CLOSED, Stream
from tlsnodes.tls.openssl cimport SSL_get_version, SSL_session_reused
from tlsnodes.tls.tickets cimport TicketBearer

LINGER_S = 2.0
"""How long a connection that we closed is read on: closing with unread input would reset it under our last words."""

cdef double _LINGER_S = LINGER_S
cdef object _TICKET = ChosenBy.TICKET

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
        if vserver.tickets_bind:
            self.bearer = TicketBearer(vserver, address)
            self.bearer.hold(self.ssl)
        if vserver.tls is not None:
            vserver.tls.follow(self.ssl, self)
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
            self.peer_text = address_text(self.address)
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
        if self.bearer is not None:
            self.bearer.opened(self.ssl)
        vserver.tls.opened(self.ssl)

    cdef int bind_to(self, object server, object by) except -1:
        """This server answers a request: the ticket names it now, if it was the first or the one before is gone."""
        cdef TicketBearer bearer = self.bearer
        cdef VserverProxy vserver = self.vserver
        if bearer.server is not None and (bearer.server is server or by < _TICKET):
            return 0
        bearer.server = server
        bearer.affinity = vserver.scheduler.bind(
            server, vserver.poller.now, vserver.wall(), self.address, bearer.affinity
        )
        bearer.by = _TICKET
        if bearer.may_issue(self.ssl):
            self.issue_ticket()
        return 0

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
        elif exchange.waiting is not None:
            exchange.go_on_with(None)
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
            status, "", "", 0, sent, waited if status else None, waited, 0, refused, b"",
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
        if exchange is not None:  # we keep it: we may be called by it
            if exchange.active:
                exchange.detach(False, "the client is gone" if exchange.status == 0 else "cut")
            exchange.client = None
        self.vserver.ended(self)
        return 0
