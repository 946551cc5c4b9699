"""One request of a client and its response, by way of a server: what goes on between two connections."""

import structlog

from pentaflow.addresses import with_port
from tlsnodes.access_log import Access
from tlsnodes.http.encode import last_chunk
from tlsnodes.http.redirect import https_location
from tlsnodes.persistence.affinity import ChosenBy

from libc.stdint cimport uint8_t

from tlsnodes.http.encode cimport client_body, request_octets, response_octets, write_chunk_line
from tlsnodes.http.fields cimport Span
from tlsnodes.http.heads cimport BODY_CHUNKED, BODY_NONE, BODY_UNTIL_CLOSE, Body, RequestHead, ResponseHead
from tlsnodes.proxy.client cimport TUNNEL, ClientConnection
from tlsnodes.proxy.server cimport Backend, Requester, ServerConnection
from tlsnodes.proxy.vserver cimport VserverProxy
from tlsnodes.stream.stream cimport FAILED

cdef frozenset _IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110, 9.2.2
cdef bytes _CRLF = b"\r\n"
cdef bytes _RETRY_AFTER = b"Retry-After: 1\r\n"
cdef object _SESSION_ID = ChosenBy.SESSION_ID

_log = structlog.get_logger()


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
        self.session = None
        if vserver.sessions is not None:
            return self.begin_in_session()
        return self.choose()

    cdef int choose(self) except -1:
        """Choose a server and send the request there."""
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        cdef RequestHead head = self.head
        self.server, self.cookie, self.by = vserver.scheduler.choose(
            head.cookie, vserver.poller.now, vserver.wall(), head.target, client.address, client.bearer, self.session
        )
        if self.server is None:
            return client.refuse(503, vserver.pool.refusal(), _RETRY_AFTER)
        vserver.pool.began(self.server)
        if self.session is not None and self.by > _SESSION_ID and self.session.by is _SESSION_ID:
            return self.replace_binding()
        return self.connect()

    # ---- the session whose id the request shows

    cdef int begin_in_session(self) except -1:
        """Choose a server, once it is known what the request's session is bound to."""
        cdef VserverProxy vserver = self.vserver
        cdef RequestHead head = self.head
        cdef double now_s = vserver.wall()
        self.session_key = vserver.sessions.maybe_key(head.target, head.lines)
        if self.session_key is None:
            return self.choose()
        self.session = vserver.sessions.maybe_known(self.session_key, now_s)
        if self.session is not None or vserver.scheduler.is_bound_by_cookie(head.cookie, vserver.poller.now, now_s):
            return self.choose()
        server, by = vserver.scheduler.propose(
            vserver.poller.now, head.target, self.client.address, self.client.bearer
        )
        if server is None:  # one that takes no new sessions may have this one
            return self.wait_for(vserver.sessions.look_up(self.session_key, now_s))
        self.session = vserver.sessions.proposal(server.id, by)
        return self.wait_for(vserver.sessions.claim(self.session_key, server.id, by, now_s))

    cdef int replace_binding(self) except -1:
        """What the session was bound to is of no use any more: bind it to the server that was chosen instead."""
        cdef VserverProxy vserver = self.vserver
        return self.wait_for(
            vserver.sessions.replace(self.session_key, self.session, self.server.id, vserver.wall())
        )

    cdef int wait_for(self, coroutine) except -1:
        self.waiting = this = object()
        return self.vserver.run(self.wait(this, coroutine))

    async def wait(self, this, coroutine):
        """Go on with what the store says."""
        cdef ClientConnection client = self.client
        try:
            session = await coroutine
            if self.waiting is this:  # else it took too long, or nobody waits any more
                self.go_on_with(session)
        except Exception as error:
            client.fault(error)

    cdef int go_on_with(self, session) except -1:
        """Send the request to the server that its session is bound to; None: to none, or that takes too long."""
        cdef VserverProxy vserver = self.vserver
        cdef ClientConnection client = self.client
        self.waiting = None
        if self.server is None:
            if session is not None:
                self.session = session
            self.choose()
        else:
            # Another node, or another configuration, may have been faster.
            other = None
            if session is not None:
                other = vserver.scheduler.maybe_instead(self.server, self.by, session, vserver.poller.now)
            if other is not None:
                vserver.pool.ended(self.server)
                vserver.pool.began(other)
                self.server = other
                self.by = _SESSION_ID
            if self.server.id in vserver.backends:
                self.connect()
            else:
                client.refuse(503, f"server {self.server.name} is gone", _RETRY_AFTER)
        return client.go_on() if self.active and self.ready else 0

    cdef int note_session(self, ResponseHead response) except -1:
        """What the response says of sessions."""
        cdef VserverProxy vserver = self.vserver
        cdef double now_s = vserver.wall()
        if self.session_key is not None:
            more = vserver.sessions.answered(self.session_key, self.server.id, self.by, self.tried, now_s)
            if more is not None:
                vserver.run(more)
        vserver.sessions.note_response(response.lines, response.set_cookies, self.server.id, now_s)
        return 0

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
        other, self.by = vserver.scheduler.choose_again(now, self.tried, self.head.target, client.address)
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
        if client.bearer is not None:
            client.bind_to(self.server, self.by)
        if vserver.sessions is not None:
            self.note_session(response)
        if vserver.explain is not None:
            via += b"%b: %b; by=%b\r\n" % (vserver.explain, self.server.name.encode(), self.by.name.lower().encode())
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
            connection.close()  # in order: the kernel goes on to deliver what it has taken
            self.detach(False, "")
            client.end()
        return 0

    # ---- its end

    cdef int detach(self, bint reusable, str refused) except -1:
        """Let go of the server, and tell the log."""
        cdef VserverProxy vserver = self.vserver
        cdef ServerConnection connection = self.connection
        self.active = False
        self.waiting = None
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
            "" if self.server is None else self.by.name.lower(),
            self.received,
            self.sent,
            self.answered_at - self.started_at if self.status else None,
            now - self.started_at,
            len(self.tried),
            refused,
            self.request_id or b"",
        )
