"""One request and its response: what goes to the server and what comes back to the client."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tlsnodes.http.encode import LAST_CHUNK, client_framing, encode_chunk, encode_request, encode_response
from tlsnodes.http.forwarding import ForwardingRules
from tlsnodes.http.heads import RequestHead, ResponseHead
from tlsnodes.http.messages import CHUNKED, END, NO_BODY, UNTIL_CLOSE, Violation
from tlsnodes.http.reader import ResponseEvent
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.scheduling.server import ServerState

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110, 9.2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRules:
    """What the exchanges of one vserver have in common.

    Attributes:
        injection: cookie persistence, if the vserver has it.
        forwarding: what servers are told about clients.
        via: the Via line of a response that a server of HTTP/1.1 gave.
        via_1_0: the same for HTTP/1.0.
    """

    injection: CookieInjection | None
    forwarding: ForwardingRules
    via: bytes
    via_1_0: bytes


class Exchange:
    """The state of one request and its response.

    Attributes:
        head: the client's request.
        server: which one was chosen.
        tried: ids of servers that could not be reached.
        started_at: when the server was chosen, seconds on a monotonic clock.
        request_done: all of the request went to the server.
        status: of the final response, once its head went to the client.
        finished: all of the response went to the client.
        keep_alive: the client was told that its connection stays.
        server_keep_alive: the server's connection can carry another request.
        violation: what the server did wrong; without a status nothing of its response went to the client.
        cookies_injected: server cookies added to the response.
    """

    __slots__ = (
        "_cookie",
        "_framing",
        "_rules",
        "cookies_injected",
        "finished",
        "head",
        "keep_alive",
        "request_done",
        "server",
        "server_keep_alive",
        "started_at",
        "status",
        "tried",
        "violation",
    )

    def __init__(
        self, head: RequestHead, *, cookie: bytes | None, server: ServerState, rules: ExchangeRules, now: float
    ) -> None:
        self.head = head
        self.server = server
        self.tried: tuple[int, ...] = ()
        self.started_at = now
        self.request_done = head.framing is NO_BODY
        self.status: int | None = None
        self.finished = False
        self.keep_alive = head.keep_alive
        self.server_keep_alive = False
        self.violation: Violation | None = None
        self.cookies_injected = 0
        self._cookie = cookie
        self._framing = NO_BODY
        self._rules = rules

    def request_head(self, proxy_fields: bytes) -> bytes:
        """The head as the server gets it; `proxy_fields` is from `tlsnodes.http.forwarding`."""
        return encode_request(self.head, cookie=self._cookie, proxy_fields=proxy_fields)

    def request_body(self, data: bytes) -> bytes:
        """A part of the body as the server gets it."""
        return encode_chunk(data) if self.head.framing is CHUNKED else data

    def request_end(self) -> bytes:
        """What ends the request; it is done with this."""
        self.request_done = True
        return LAST_CHUNK if self.head.framing is CHUNKED else b""

    def may_repeat(self) -> bool:
        """Sending it once more does no harm, and nothing of it or its response is gone (RFC 9110, 9.2.2)."""
        return self.status is None and self.head.framing is NO_BODY and self.head.method in _IDEMPOTENT

    def respond(self, events: Iterable[ResponseEvent], now_s: float) -> bytes:
        """What the client gets of these events.

        Args:
            events: of the server's connection, in order.
            now_s: seconds since the epoch.
        """
        out: list[bytes] = []
        nothing_sent = self.status is None
        for event in events:
            if event.__class__ is bytes:
                out.append(encode_chunk(event) if self._framing is CHUNKED else event)
            elif event is END:
                if self._framing is CHUNKED:
                    out.append(LAST_CHUNK)
                self.finished = True
            elif isinstance(event, ResponseHead):
                out.append(self._response_head(event, now_s))
            elif isinstance(event, Violation):
                self.violation = event
                if nothing_sent:
                    self.status = None  # the client has seen none of it: there is still room for an error
                return b""
        return out[0] if len(out) == 1 else b"".join(out)

    def _response_head(self, response: ResponseHead, now_s: float) -> bytes:
        rules = self._rules
        via = rules.via_1_0 if response.http_1_0 else rules.via
        http_1_0 = self.head.http_1_0
        if response.status < 200:
            return b"" if http_1_0 else encode_response(response, proxy_fields=via)
        framing = self._framing = client_framing(response, http_1_0=http_1_0)
        self.status = response.status
        self.server_keep_alive = response.keep_alive and self.request_done
        # An answer before the request is whole: the rest of the request has nowhere to go.
        self.keep_alive = self.keep_alive and self.request_done and framing is not UNTIL_CLOSE
        added: tuple[bytes, ...] = ()
        if rules.injection is not None and response.set_cookies:
            added = rules.injection.read_response(response.set_cookies, self.server.id, now_s)
            self.cookies_injected += len(added)
        return encode_response(
            response,
            proxy_fields=via,
            keep_alive=self.keep_alive,
            http_1_0=http_1_0,
            set_cookies=added,
        )
