"""What a server may answer, and what the client gets of it."""

from __future__ import annotations

import pytest

from tlsnodes.http.answers import own_response
from tlsnodes.http.encode import client_framing, encode_chunk, encode_response, last_chunk
from tlsnodes.http.forwarding import via_line
from tlsnodes.http.heads import ResponseHead
from tlsnodes.http.messages import CHUNKED, END, LENGTH, NO_BODY, UNTIL_CLOSE, Framing, HeadLimits, Violation
from tlsnodes.http.reader import MAX_INTERIM_RESPONSES, ResponseEvent, ResponseReader

LIMITS = HeadLimits(size=4096, fields=20)
VIA = via_line("node1")


def read(data: bytes, *, to_head: bool = False, step: int | None = None) -> list[ResponseEvent]:
    reader = ResponseReader(LIMITS)
    reader.begin(b"HEAD" if to_head else b"GET")
    events: list[ResponseEvent] = []
    step = step or len(data)
    for start in range(0, len(data), step):
        for event in reader.feed(data[start : start + step]):
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
        if events and isinstance(events[-1], Violation):
            break
    return events


def read_head(data: bytes, *, to_head: bool = False) -> ResponseHead:
    head = read(data, to_head=to_head)[0]
    assert isinstance(head, ResponseHead), head
    return head


@pytest.mark.parametrize(
    ("response", "part"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/2.0"),
        (b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", "status 99"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "status 101"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab", "coding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000 + b"\r\nContent-Length: 0\r\n\r\n", "4096"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 21 + b"\r\n", "more than 20"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1), "interim"),
        (b"SSH-2.0-OpenSSH_9\r\n", "not HTTP/1.1"),
    ],
)
@pytest.mark.parametrize("step", [None, 1])
def test_a_bad_response_is_the_servers_fault(response: bytes, part: str, step: int | None) -> None:
    *_, last = read(response, step=step)
    assert isinstance(last, Violation), last
    assert part in last.sentence


@pytest.mark.parametrize(
    ("response", "to_head", "framing", "keeps", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", False, LENGTH, True, b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, LENGTH, True, b""),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", False, CHUNKED, True, b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", True, NO_BODY, True, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True, NO_BODY, True, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", False, NO_BODY, True, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, NO_BODY, True, b""),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", False, LENGTH, False, b"a"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False, LENGTH, False, b"a"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", False, LENGTH, True, b"a"),
    ],
)
@pytest.mark.parametrize("step", [None, 1])
def test_good_responses(
    response: bytes, to_head: bool, framing: Framing, keeps: bool, body: bytes, step: int | None
) -> None:
    head, *rest = read(response, to_head=to_head, step=step)
    assert isinstance(head, ResponseHead)
    assert (head.framing, head.keep_alive) == (framing, keeps)
    assert rest == ([body, END] if body else [END])


def test_a_body_that_ends_with_the_connection() -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET")
    head, body = reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert isinstance(head, ResponseHead)
    assert (head.framing, head.keep_alive, body) == (UNTIL_CLOSE, False, b"abc")
    assert reader.eof() is END


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", b"HTTP/1.1 100 C\r\n\r\n"]
)
def test_a_connection_that_closes_too_early(begun: bytes) -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET")
    reader.feed(begun)
    assert isinstance(reader.eof(), Violation)


def test_what_follows_a_response_is_not_taken_for_another() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    events = read(answer + answer)
    assert events[:3] == read(answer)
    assert isinstance(events[3], Violation)
    # The same to HEAD, where the body is the surplus.
    events = read(answer, to_head=True)
    assert isinstance(events[-1], Violation)


def test_a_reader_serves_one_response_after_the_other() -> None:
    reader = ResponseReader(LIMITS)
    for to_head in (False, True, True, False):
        reader.begin(b"HEAD" if to_head else b"GET")
        events = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + (b"" if to_head else b"a"))
        assert events[1:] == ([END] if to_head else [b"a", END])


def test_interim_responses_come_before_the_final_one() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    interim, head, end = read(early + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert isinstance(interim, ResponseHead)
    assert isinstance(head, ResponseHead)
    assert (interim.status, head.status, end) == (103, 204, END)
    assert encode_response(interim, proxy_fields=VIA) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 node1\r\n\r\n"
    )


def test_what_goes_to_the_client() -> None:
    head = read_head(
        b"HTTP/1.1 200 Fine\r\nDate: x\r\nSet-Cookie: a=1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Upgrade: h2\r\nTrailer: T\r\nProxy-Authenticate: x\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\n\r\nabc"
    )
    assert head.set_cookies == (b"a=1", b"b=2")
    text = encode_response(head, keep_alive=True, http_1_0=False, proxy_fields=VIA, set_cookies=(b"c=3; Path=/",))
    assert text == (
        b"HTTP/1.1 200 Fine\r\nDate: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: c=3; Path=/\r\n"
        b"Content-Length: 3\r\nVia: 1.1 node1\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("response", "http_1_0", "expected"),
    [
        (b"HTTP/1.1 204 x\r\n\r\n", False, NO_BODY),
        (b"HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\n", True, LENGTH),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", False, CHUNKED),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", True, UNTIL_CLOSE),
        (b"HTTP/1.1 200 x\r\n\r\n", False, CHUNKED),
        (b"HTTP/1.1 200 x\r\n\r\n", True, UNTIL_CLOSE),
    ],
)
def test_client_framing(response: bytes, http_1_0: bool, expected: Framing) -> None:
    head = read_head(response)
    assert client_framing(head, http_1_0=http_1_0) is expected


@pytest.mark.parametrize(
    ("keep_alive", "http_1_0", "line"),
    [(True, False, b""), (True, True, b"Connection: keep-alive\r\n"), (False, False, b"Connection: close\r\n")],
)
def test_the_connection_field(keep_alive: bool, http_1_0: bool, line: bytes) -> None:
    head = read_head(b"HTTP/1.1 204 x\r\n\r\n")
    text = encode_response(head, keep_alive=keep_alive, http_1_0=http_1_0, proxy_fields=VIA)
    assert text == b"HTTP/1.1 204 x\r\n" + line + b"Via: 1.1 node1\r\n\r\n"


def test_the_length_that_head_and_304_name_is_passed_on_and_a_204_has_none() -> None:
    for response, to_head, expected in (
        (b"HTTP/1.1 200 x\r\nContent-Length: 7\r\n\r\n", True, 7),
        (b"HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n", False, 7),
        (b"HTTP/1.1 204 x\r\nContent-Length: 7\r\n\r\n", False, None),
    ):
        assert read_head(response, to_head=to_head).content_length == expected


def test_chunks() -> None:
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_an_error_of_our_own_says_which_and_why() -> None:
    text = own_response(503, "no server of pool web is up", now=0.0, keep_alive=False, fields=VIA)
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"Via: 1.1 node1",
    ]
    assert body == b"503 Service Unavailable: no server of pool web is up\n"


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("step", [1, 1000])
def test_101_opens_a_tunnel_if_it_was_asked_for(step: int) -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET", b"websocket")
    data = SWITCHING + b"\x81\x02hi"
    events: list[ResponseEvent] = []
    for start in range(0, len(data), step):
        events += reader.feed(data[start : start + step])
    head = events[0]
    assert isinstance(head, ResponseHead)
    assert encode_response(head, proxy_fields=VIA) == (
        b"HTTP/1.1 101 Switching Protocols\r\nX: y\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Via: 1.1 node1\r\n\r\n"
    )
    assert b"".join(event for event in events[1:] if isinstance(event, bytes)) == b"\x81\x02hi"
    assert reader.eof() is END


@pytest.mark.parametrize("asked", [None, b"h2"])
def test_101_to_something_else_is_refused(asked: bytes | None) -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET", asked)
    assert reader.feed(SWITCHING) == [Violation(status=502, sentence="the server answered with status 101")]


def test_an_upgrade_may_be_declined() -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET", b"websocket")
    head, end = reader.feed(
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: a, b\r\nContent-Length: 0\r\n\r\n"
    )
    assert isinstance(head, ResponseHead)
    assert (head.status, head.upgrade, end) == (426, None, END)


def test_trailers_of_a_response() -> None:
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET")
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n")
    assert reader.trailers == b"X-Sum: 1\r\n"
    assert last_chunk(reader.trailers) == b"0\r\nX-Sum: 1\r\n\r\n"


def test_a_name_with_underscores_is_the_servers_own_affair() -> None:
    assert read_head(b"HTTP/1.1 204 x\r\nContent_Length: 3\r\n\r\n").lines == b"Content_Length: 3\r\n"


@pytest.mark.parametrize("size", [1, 9, 10, 15, 16, 255, 256, 4095, 70_000])
def test_a_chunks_size_is_written_in_hexadecimal(size: int) -> None:
    assert encode_chunk(b"x" * size).startswith(f"{size:x}\r\nx".encode())
