"""One request, one response: events in, bytes out."""

from __future__ import annotations

import pytest

from pentaflow.config import HostPort, Server
from tlsnodes.exchange import Exchange, ExchangeRules
from tlsnodes.http.forwarding import ForwardingRules, via_line
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import END, HeadLimits, Violation
from tlsnodes.http.reader import RequestReader, ResponseEvent, ResponseReader
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.token import PlainToken
from tlsnodes.scheduling.server import ServerState

LIMITS = HeadLimits()
RULES = ExchangeRules(
    injection=CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=PlainToken()),
    forwarding=ForwardingRules(node_name="node1", scheme="https", port=443),
    via=via_line("node1"),
    via_1_0=via_line("node1", http_1_0=True),
)
FIELDS = b"Via: 1.1 node1\r\n"


def begin(request: bytes) -> Exchange:
    head = RequestReader(LIMITS).feed(request)[0]
    assert isinstance(head, RequestHead), head
    server = ServerState(Server(name="s7", id=7, address=HostPort(host="192.0.2.1", port=80)))
    return Exchange(head, cookie=head.cookie, server=server, rules=RULES, now=0.0)


def events_of(response: bytes, *, to_head: bool = False) -> list[ResponseEvent]:
    reader = ResponseReader(LIMITS)
    reader.begin(b"HEAD" if to_head else b"GET")
    return reader.feed(response)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def test_a_response_of_known_length() -> None:
    exchange = begin(GET)
    assert exchange.respond(events_of(OK), 0.0) == (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 node1\r\n\r\nhi")
    assert (exchange.finished, exchange.keep_alive, exchange.server_keep_alive) == (True, True, True)


def test_a_response_without_a_length_is_chunked() -> None:
    exchange = begin(GET)
    assert exchange.respond([*events_of(b"HTTP/1.0 200 OK\r\n\r\nhi"), END], 0.0) == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.0 node1\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    )
    assert (exchange.finished, exchange.keep_alive, exchange.server_keep_alive) == (True, True, False)


def test_an_http_1_0_client_gets_no_chunks_and_no_interim_responses() -> None:
    exchange = begin(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    response = b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    assert exchange.respond(events_of(response), 0.0) == (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 node1\r\n\r\nhi"
    )
    assert (exchange.finished, exchange.keep_alive) == (True, False)


def test_a_chunked_request_is_chunked_anew() -> None:
    exchange = begin(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert exchange.request_head(FIELDS).startswith(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n")
    assert exchange.request_body(b"abc") == b"3\r\nabc\r\n"
    assert not exchange.request_done
    assert exchange.request_end() == b"0\r\n\r\n"
    assert exchange.request_done


def test_an_answer_before_the_request_is_whole_ends_both_connections() -> None:
    exchange = begin(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    text = exchange.respond(events_of(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), 0.0)
    assert b"\r\nConnection: close\r\n" in text
    assert (exchange.finished, exchange.keep_alive, exchange.server_keep_alive) == (True, False, False)


def test_the_session_cookie_is_followed_by_the_server_cookie() -> None:
    exchange = begin(GET)
    text = exchange.respond(
        events_of(b"HTTP/1.1 200 OK\r\nSet-Cookie: SESSION=x; Path=/\r\nContent-Length: 0\r\n\r\n"), 0.0
    )
    assert b"\r\nSet-Cookie: SESSION=x; Path=/\r\nSet-Cookie: SpServer=7; Path=/\r\n" in text
    assert exchange.cookies_injected == 1


def test_a_violation_before_anything_was_sent_leaves_room_for_an_error() -> None:
    exchange = begin(GET)
    violation = Violation(status=502, sentence="x")
    assert exchange.respond([*events_of(OK)[:-1], violation], 0.0) == b""
    assert (exchange.violation, exchange.status) == (violation, None)


def test_a_violation_later_is_remembered_with_the_status() -> None:
    exchange = begin(GET)
    head, body, _ = events_of(OK)
    exchange.respond([head], 0.0)
    exchange.respond([body, Violation(status=502, sentence="x")], 0.0)
    assert exchange.violation is not None
    assert exchange.status == 200
    assert not exchange.finished


@pytest.mark.parametrize(
    ("request_bytes", "may"),
    [
        (GET, True),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", False),
    ],
)
def test_only_what_does_no_harm_is_repeated(request_bytes: bytes, may: bool) -> None:
    exchange = begin(request_bytes)
    assert exchange.may_repeat() is may
    exchange.respond(events_of(OK)[:1], 0.0)
    assert not exchange.may_repeat()
