"""A connection that is passed on without being decrypted, and the one to its server: see passed.pxd.

A client's ClientHello is read whole and names its pool; a server of that gets what has come, and from then on both
sides get what the other one sends.
"""

import structlog

from pentaflow.addresses import with_port
from tlsnodes.access_log import Access
from tlsnodes.http.proxy_protocol import proxy_header
from tlsnodes.passthrough.client_hello import Alert, HelloError, HelloReader
from tlsnodes.passthrough.server_flight import ServerFlight
from tlsnodes.persistence.affinity import AffinityRefusal
from tlsnodes.statistics import Persisted

from libc.stdint cimport uint8_t

from tlsnodes.proxy.base cimport address_text
from tlsnodes.proxy.passthrough cimport PassthroughProxy
from tlsnodes.stream.stream cimport PEER_CLOSED, Stream

cdef double _LINGER_S = 2.0  # how long a connection that we closed is read on: see tlsnodes.proxy.client
cdef int _READS_A_TURN = 16  # of up to 64 KiB; then others have their turn

cdef dict _OUTCOMES = {
    AffinityRefusal.MALFORMED: Persisted.MALFORMED,
    AffinityRefusal.FOREIGN_VSERVER: Persisted.FOREIGN,
    AffinityRefusal.FOREIGN_NAME: Persisted.FOREIGN,
    AffinityRefusal.EXPIRED: Persisted.EXPIRED,
}

_log = structlog.get_logger()


cdef class PassedConnection(Stream):
    """A client's connection, and what becomes of it."""

    cdef int begin(self, PassthroughProxy proxy, int fd, bytes address, int port) except -1:
        """Serve whoever was accepted; the connection is closed at once when there is no room for it."""
        self.proxy = proxy
        self.port = port
        self.address = address
        self.reader = HelloReader()
        self.first = []
        self.tried = ()
        self.reason = ""
        self.progress_at = self.answered_at = -1
        self.started_at = proxy.poller.now
        self.deadline = proxy.poller.now + proxy.handshake_s
        self.phase = HELLO
        self.attach(proxy.poller, fd)
        if not proxy.admit(self, address):
            self.abort()
        return 0

    @property
    def client(self):
        """Its address and port, packed."""
        return self.address + self.port.to_bytes(2, "big")

    @property
    def peer(self):
        """The client's address, as text."""
        return address_text(self.address)

    # ---- what the poller calls

    cdef void on_readable(self) noexcept:
        try:
            self.read()
        except Exception as error:
            self.fault(error)

    cdef void on_writable(self) noexcept:
        try:
            if self.phase == LINGER:
                if self.input_over:
                    self.end()
            elif self.other is not None:
                self.other.read()
                self.over()
        except Exception as error:
            self.fault(error)

    cdef void on_lost(self) noexcept:
        try:
            if self.phase == HELLO and self.first:
                self.proxy.handshake_failed("the client is gone")
            self.end()
        except Exception as error:
            self.fault(error)

    cdef int fault(self, error) except -1:
        """An error of ours costs this connection only."""
        _log.error("internal error", vserver=self.proxy.name, client=self.peer, exc_info=error)
        self.cut()
        return 0

    # ---- what the vserver calls

    def sweep(self, double now):
        """End what takes too long or comes too slowly; called every now and then."""
        try:
            if now >= self.deadline:
                self.pass_deadline()
            else:
                self.check_rate(now)
        except Exception as error:
            self.fault(error)

    def drain(self):
        """Nobody knows when one that is open has nothing to say any more: only one that has said nothing is closed."""
        if self.phase == HELLO and not self.first:
            self.close_in_order()

    def cut(self):
        """Close both sides at once, so that they see that it was cut short."""
        self.abort()
        self.end()

    cdef int pass_deadline(self) except -1:
        if self.phase == HELLO:
            self.proxy.handshake_failed("not finished")
            self.cut()
        elif self.phase == HELD and self.wanted is not None:
            self.wanted = None
            self.choose_bound(None, None)
        elif self.phase == HELD:
            self.other.discard()
            self.server_unreachable("timed out")
        elif self.phase == RELAY:
            self.reason = "nothing was said for too long"
            if self.answered_at < 0:
                self.reason = f"server {self.server.name} did not answer in time"
                self.pool.failed(self.server, self.proxy.poller.now)
            elif not self.spoke:
                self.proxy.handshake_failed("not finished")
            self.cut()
        elif self.unsent > 0:
            self.cut()
        else:  # the kernel goes on to deliver what it has taken
            self.end()
        return 0

    cdef int check_rate(self, double now) except -1:
        """Whoever does not take what there is for him is cut off [N5]."""
        cdef PassthroughProxy proxy = self.proxy
        cdef long long moved
        if self.unsent == 0:
            self.progress_at = -1
            return 0
        # Of what the socket took, what the client has taken counts.
        moved = self.sent - self.unsent - self.undelivered()
        if self.progress_at < 0:
            self.progress = moved
            self.progress_at = now
        elif now - self.progress_at >= proxy.min_rate_after_s:
            if moved - self.progress < proxy.min_rate * (now - self.progress_at):
                proxy.statistics.too_slow += 1
                self.reason = "the client takes too slowly"
                self.cut()
                return 0
            self.progress = moved
            self.progress_at = now
        return 0

    # ---- what comes from the client

    cdef int read(self) except -1:
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size
        cdef int reads = 0
        if self.reading:
            return 0
        self.reading = True
        try:
            while self.readable and not self.input_over:
                if self.phase == HELD or (self.phase == RELAY and self.other.unsent > 0):
                    return 0
                if reads == _READS_A_TURN:
                    self.poller.again(self)
                    return 0
                reads += 1
                size = self.receive(&data)
                if size > 0:
                    if self.phase == RELAY:
                        self.received += size
                        self.spoke = True
                        if self.answered_at >= 0:
                            self.deadline = self.proxy.poller.now + self.patience_s
                        self.other.write(data, size)
                        self.other.flush()
                    elif self.phase == HELLO:
                        self.received += size
                        self.take_hello((<const char *>data)[:size])
                elif self.state == PEER_CLOSED:
                    self.input_ended()
                elif not self.readable:
                    return 0
        finally:
            self.reading = False
        return 0

    cdef int take_hello(self, bytes piece) except -1:
        self.first.append(piece)
        try:
            self.hello = self.reader.feed(piece)
        except HelloError as error:
            self.proxy.handshake_failed(error.reason)
            return self.refuse(error.alert, error.reason)
        if self.hello is not None:
            self.reader = None
            self.phase = HELD
            return self.choose()
        return 0

    cdef int input_ended(self) except -1:
        """Nothing more comes from the client; what is on its way to it still does."""
        self.input_over = True
        if self.phase == RELAY:
            self.other.finish()
            self.half_ended()
            return self.over()
        if self.phase == LINGER:
            if self.unsent == 0:
                self.end()
        elif self.phase == HELLO:
            if self.first:
                self.proxy.handshake_failed("the client is gone")
            self.end()
        return 0

    # ---- the server

    cdef int choose(self) except -1:
        """Find the pool that the hello names, and the server that its session is bound to, if there is one."""
        cdef PassthroughProxy proxy = self.proxy.current()
        self.pool = proxy.names.maybe_find(self.hello.server_name) or proxy.pools[0]
        wanted = None if proxy.learnt is None else proxy.learnt.maybe_key(self.hello)
        if wanted is None:
            return self.choose_bound(None, None)
        key, by = wanted
        record = proxy.learnt.store.maybe_copy(key)
        if record is not None:
            return self.choose_bound(record, by)
        self.wanted = by
        return proxy.run(self.look_up(proxy.learnt.store, key))

    async def look_up(self, store, bytes key):
        """Go on with what the store says."""
        record = await store.get(key)
        by = self.wanted
        if by is None:  # it took too long, or nobody waits any more
            return
        self.wanted = None
        try:
            self.choose_bound(record, by)
        except Exception as error:
            self.fault(error)

    cdef int choose_bound(self, record, by) except -1:
        """Choose the server that `record` binds the client to, or else another one, and connect to it."""
        cdef PassthroughProxy proxy = self.proxy.current()
        cdef double now = proxy.poller.now
        if self.pool not in proxy.pools:  # there is another configuration since the lookup began
            return self.choose()
        outcome = Persisted.NONE
        if record is not None:
            affinity = proxy.learnt.read(record, self.pool.name, self.hello, proxy.wall())
            if isinstance(affinity, AffinityRefusal):
                outcome = _OUTCOMES[affinity]
            else:
                outcome = Persisted.SERVER_GONE
                for server_id in affinity.servers:
                    server = self.pool.maybe_server(server_id)
                    outcome = Persisted.SERVER_DOWN
                    if self.pool.usable(server, now):
                        proxy.statistics.persistence[Persisted.HONOURED] += 1
                        proxy.statistics.chosen_by[by] += 1
                        self.by = by
                        # Elsewhere the client's session is not known.
                        return self.no_server(self.pool.refusal()) if server.full else self.connect_to(server)
        server, by_id = proxy.choose_by_id(self, ())
        if proxy.learnt is not None or proxy.session_ids is not None:
            proxy.statistics.persistence[outcome if by_id is Persisted.NONE else by_id] += 1
        if server is None:
            server = proxy.choose(self, ())
        if server is None:
            return self.no_server(self.pool.refusal())
        return self.connect_to(server)

    cdef int learn(self) except -1:
        """Note what the server has said of the session, for when the client resumes it."""
        cdef PassthroughProxy proxy = self.proxy.current()
        session = self.flight.session
        self.flight = None
        if session is not None and proxy.learnt is not None and self.pool in proxy.pools:
            proxy.run(proxy.learnt.learn(session, self.pool.name, self.server.id, self.hello, proxy.wall()))
        return 0

    cdef int no_server(self, str reason) except -1:
        """Refuse the client since nobody can serve it."""
        cdef PassthroughProxy proxy = self.proxy
        proxy.handshake_failed("no server")
        if proxy.log is None and proxy.budget.allows(proxy.poller.now):
            _log.info("refused", vserver=proxy.name, client=self.peer, reason=reason)
        return self.refuse(Alert.INTERNAL_ERROR, reason)

    cdef int connect_to(self, server) except -1:
        cdef PassthroughProxy proxy = self.proxy.current()
        cdef ServerSide other
        way = proxy.ways.get(self.pool.name, {}).get(server.id)
        if way is None:  # it was taken out of the configuration just now
            return self.no_server(f"server {server.name} is gone")
        self.server = server
        self.pool.began(server)
        self.deadline = proxy.poller.now + proxy.connect_s
        other = self.other = ServerSide()
        other.client = self
        if way.destination is not None:
            other.preamble = proxy_header((self.peer, self.port), way.destination)
        try:
            Stream.connect(other, proxy.poller, way.address, way.port, None)
        except OSError as error:  # this is not the server's failure
            self.other = None
            _log.error("cannot connect", vserver=proxy.name, error=error.strerror)
            return self.no_server("this node has no socket left")
        return 0

    cdef int server_ready(self) except -1:
        """The server is there: it gets what came so far."""
        cdef PassthroughProxy proxy = self.proxy
        cdef bytes piece
        self.pool.connected(self.server)
        self.phase = RELAY
        if proxy.learnt is not None:
            self.flight = ServerFlight()
        self.patience_s = proxy.tunnel_s
        self.deadline = proxy.poller.now + proxy.response_s
        for piece in self.first:
            self.other.write(<const uint8_t *>piece, len(piece))
        self.other.flush()
        self.first = None
        return self.read()

    cdef int server_unreachable(self, str reason) except -1:
        """Connect to another server, or tell the client that there is none."""
        cdef PassthroughProxy proxy = self.proxy
        cdef double now = proxy.poller.now
        failed = self.server
        self.pool.connect_failed(failed, now)
        self.tried += (failed.id,)
        if proxy.budget.allows(now):
            _log.warning("connect failed", vserver=proxy.name, server=failed.name, error=reason)
        self.let_go()
        server, _ = proxy.choose_by_id(self, self.tried)
        if server is None:
            server = proxy.choose(self, self.tried)
        if server is None:
            return self.no_server(f"no server of pool {self.pool.name} can be reached")
        return self.connect_to(server)

    cdef int server_data(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef PassthroughProxy proxy = self.proxy
        cdef double now = proxy.poller.now
        if self.answered_at < 0:
            self.answered_at = now
            self.pool.answered(self.server, 200, now - self.started_at, now)
            if not self.spoke:
                self.deadline = now + proxy.handshake_s
        if self.spoke:
            self.deadline = now + self.patience_s
        self.sent += size
        self.write(data, size)
        self.flush()
        if self.flight is not None:
            self.flight.feed((<const char *>data)[:size])
            if self.flight.done:
                self.learn()
        return 0

    cdef int server_ended(self) except -1:
        """Nothing more comes from the server."""
        if self.answered_at < 0 and not self.input_over:
            self.reason = f"server {self.server.name} closed without an answer"
            self.pool.failed(self.server, self.proxy.poller.now)
        self.finish()
        self.half_ended()
        return self.over()

    cdef int server_lost(self, str reason) except -1:
        """The connection to the server broke: so does the client's."""
        if self.phase == HELD:
            return self.server_unreachable(reason)
        self.reason = f"server {self.server.name}: {reason}"
        if self.answered_at < 0 and not self.input_over:
            self.pool.failed(self.server, self.proxy.poller.now)
        self.cut()
        return 0

    cdef int half_ended(self) except -1:
        """One side has ended: the other may go on, but not be silent as long."""
        cdef PassthroughProxy proxy = self.proxy
        self.patience_s = min(proxy.tunnel_s, proxy.response_s)
        self.deadline = proxy.poller.now + self.patience_s
        return 0

    cdef int over(self) except -1:
        """Once both sides have ended and all of it was delivered, so does the connection."""
        cdef ServerSide other = self.other
        if self.phase == RELAY and self.input_over and other.input_over and self.unsent == 0 and other.unsent == 0:
            self.other = None
            other.client = None
            other.close()  # no RST: the kernel goes on to deliver what it has taken
            self.end()
        return 0

    # ---- ends

    cdef int refuse(self, alert, str reason) except -1:
        """Tell the client why there is no connection for it."""
        cdef bytes record = alert.record
        self.reason = reason
        self.sent += len(record)
        self.write(<const uint8_t *>record, len(record))
        return self.close_in_order()

    cdef int close_in_order(self) except -1:
        """End of output, then wait for the client to close."""
        self.let_go()
        self.phase = LINGER
        self.finish()
        self.deadline = self.proxy.poller.now + _LINGER_S
        if self.readable:
            self.read()
        return 0

    cdef int let_go(self) except -1:
        """There is no server any more, and none to come."""
        cdef ServerSide other = self.other
        self.other = None
        self.wanted = None
        if other is not None:
            other.discard()
        if self.server is not None:
            self.pool.ended(self.server)
            self.server = None
        return 0

    cdef int end(self) except -1:
        """The connection is gone, and the one to its server."""
        cdef PassthroughProxy proxy = self.proxy
        if self not in proxy.connections:
            return 0
        self.close()
        self.input_over = True
        if proxy.log is not None and self.hello is not None:
            proxy.log.add(self.describe())
        self.let_go()
        self.phase = LINGER
        proxy.ended(self)
        return 0

    cdef object describe(self):
        cdef double now = self.proxy.poller.now
        return Access(
            ended_at=self.proxy.wall(),
            vserver=self.proxy.name,
            client=with_port(self.peer, self.port),
            tls="",
            method=b"",
            host=b"" if self.hello is None else self.hello.server_name.encode(),
            target=b"",
            status=0,
            server="" if self.server is None else self.server.name,
            chosen_by="" if self.server is None else self.by.name.lower(),
            bytes_in=self.received,
            bytes_out=self.sent,
            first_byte_s=self.answered_at - self.started_at if self.answered_at >= 0 else None,
            duration_s=now - self.started_at,
            retries=len(self.tried),
            refused=self.reason,
            request_id=b"",
        )


cdef class ServerSide(Stream):
    """The connection to a client's server."""

    cdef void on_open(self) noexcept:
        try:
            self.client.server_ready()
        except Exception as error:
            self.fault(error)

    cdef void on_readable(self) noexcept:
        try:
            self.read()
        except Exception as error:
            self.fault(error)

    cdef void on_writable(self) noexcept:
        try:
            if self.client is not None:
                self.client.read()
                if self.client is not None:
                    self.client.over()
        except Exception as error:
            self.fault(error)

    cdef void on_lost(self) noexcept:
        try:
            if self.client is not None:
                self.client.server_lost(self.failure or "broken")
        except Exception as error:
            self.fault(error)

    cdef int fault(self, error) except -1:
        """An error of ours costs this connection, and the client's."""
        if self.client is not None:
            return self.client.fault(error)
        _log.error("internal error", exc_info=error)
        return 0

    cdef void discard(self) noexcept:
        """Nobody wants what may still come."""
        self.client = None
        self.abort()

    cdef int read(self) except -1:
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size
        cdef int reads = 0
        if self.reading:
            return 0
        self.reading = True
        try:
            while self.readable and not self.input_over and self.client is not None:
                if self.client.unsent > 0:
                    return 0
                if reads == _READS_A_TURN:
                    self.poller.again(self)
                    return 0
                reads += 1
                size = self.receive(&data)
                if size > 0:
                    self.client.server_data(data, size)
                elif self.state == PEER_CLOSED:
                    self.input_over = True
                    self.client.server_ended()
                elif not self.readable:
                    return 0
        finally:
            self.reading = False
        return 0
