"""What holds for any HTTP input, with h11 as the second opinion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from tlsnodes.http.encode import LAST_CHUNK, client_framing, encode_chunk, encode_request, encode_response
from tlsnodes.http.forwarding import via_line
from tlsnodes.http.heads import RequestHead, ResponseHead
from tlsnodes.http.messages import CHUNKED, END, HeadLimits, Violation
from tlsnodes.http.names import CLAIM_PREFIXES, CLAIMS, HOP_BY_HOP
from tlsnodes.http.reader import RequestEvent, RequestReader, ResponseEvent, ResponseReader

LIMITS = HeadLimits(size=4096, fields=32)
FIELDS = via_line("node1")

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.text([chr(c) for c in (*range(0x21, 0x7F), 0x80, 0xFF)] + [" ", "\t"], max_size=20).map(
    lambda text: text.strip(" \t").encode("latin-1")
)
SPECIAL = {*HOP_BY_HOP, *CLAIMS, b"host", b"cookie", b"content-length", b"expect", b"via"}


def is_ordinary(name: bytes) -> bool:
    """Nobody between client and server has an interest in a field of this name."""
    folded = name.lower().replace(b"_", b"-")
    return folded not in SPECIAL and not folded.startswith(CLAIM_PREFIXES)


FIELD = st.tuples(TOKEN.filter(is_ordinary), VALUE)
TARGET = st.text("abz/?&=%20~.-_:@", max_size=20).map(lambda text: b"/" + text.encode())
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD"])
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=4)
CUTS = st.lists(st.integers(0, 400), max_size=6)

# Pieces of requests, good and bad, that fuzzing puts together.
PIECES = st.sampled_from(
    [b"GET ", b"POST ", b"/", b"*", b"http://a/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"Host: a",
     b"Host: b", b"Host : a", b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: +3",
     b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:\tchunked ",
     b"Connection: close", b"Connection: upgrade", b"Upgrade: x", b"Expect: 100-continue", b" x", b"\t", b"abc",
     b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"3;a=b\r\nabc\r\n", b"\x00", b"\xff", b":"]
)  # fmt: skip


# Nearly right ones: what is random is where it hurts.
REQUESTS = st.builds(
    lambda method, version, fields, end, body, more: b"".join(
        [method, b" / ", version, b"\r\n", *fields, b"\r\n" if end else b"", *body, more]
    ),
    st.sampled_from([b"GET", b"POST", b"OPTIONS"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]),
    st.permutations([b"Host: a\r\n", b"", b"X: y\r\n"]).flatmap(
        lambda basis: st.lists(
            st.sampled_from(
                [b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"X:y \r\n",
                 b"Transfer-Encoding:\tChunked \r\n", b"content-length:3\r\n", b"Connection: close, X\r\n",
                 b"Expect: 100-continue\r\n", b"Cookie: a=b\r\n", b"Content_Length: 9\r\n", b"X-Forwarded-For: x\r\n",
                 b"Transfer-Encoding: x\r\n", b"Content-Length: 3\n", b" x\r\n", b"Y: z\r\r\n"]
            ),
            max_size=2,
        ).map(lambda more: [*basis, *more])
    ),
    st.sampled_from([True, True, True, False]),
    st.lists(
        st.sampled_from(
            [b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\n\r\n", b"3;a=b\r\nabc\r\n", b"0\r\nX: y\r\n\r\n",
             b"3\nabc\r\n", b"1 \r\na\r\n", b"\r\n"]
        ),
        max_size=3,
    ),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", b"junk"]),
)  # fmt: skip
ANY_REQUEST = st.one_of(REQUESTS, st.lists(PIECES, max_size=14).map(b"".join))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


def fed_until_refused(reader: RequestReader, parts: list[bytes]) -> Iterator[list[RequestEvent]]:
    for part in parts:
        events = reader.feed(part)
        yield events
        if events and isinstance(events[-1], Violation):
            return


def joined(events: list[RequestEvent]) -> list[RequestEvent]:
    out: list[RequestEvent] = []
    for event in events:
        if isinstance(event, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += event
        else:
            out.append(event)
    return out


def read(parts: list[bytes]) -> list[RequestEvent]:
    return joined([event for events in fed_until_refused(RequestReader(LIMITS), parts) for event in events])


def parse_with_h11(data: bytes) -> tuple[h11.Request, bytes]:
    """The one request in `data` as a server of the strict kind reads it, and its body."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request), request
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert server.trailing_data == (b"", False)
    return request, body


def rebuild(events: list[RequestEvent]) -> bytes:
    """The request as the server gets it."""
    head, *rest = events
    assert isinstance(head, RequestHead)
    out = encode_request(head, cookie=head.cookie, proxy_fields=FIELDS)
    chunked = head.framing.name == "CHUNKED"
    for event in rest:
        if isinstance(event, bytes):
            out += encode_chunk(event) if chunked else event
    return out + (b"0\r\n\r\n" if chunked else b"")


@given(METHOD, TARGET, st.lists(FIELD, max_size=6), BODIES, st.booleans(), CUTS)
def test_a_good_request_reaches_the_server_with_the_same_meaning(
    method: bytes,
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    bodies: list[bytes],
    chunked: bool,
    cuts: list[int],
) -> None:
    head = b"%b %b HTTP/1.1\r\nHost: www.example.test\r\n" % (method, target)
    head += b"".join(b"%b: %b\r\n" % field for field in fields)
    body = b"".join(bodies)
    if chunked:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(encode_chunk, bodies)) + b"0\r\n\r\n"
    else:
        sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    events = read(cut(sent, cuts))
    assert events == read([sent])
    assert events[-1] is END, events

    request, received = parse_with_h11(rebuild(events))
    assert (request.method, request.target, received) == (method, target, body)
    names = [name.lower() for name, _ in fields]
    assert [(n, v) for n, v in request.headers if n in names] == [(n.lower(), v) for n, v in fields]
    assert dict(request.headers)[b"via"].endswith(b"1.1 node1")


@given(ANY_REQUEST, CUTS)
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", [])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked \r\n\r\n3\r\nabc\r\n0\r\n\r\n", [30])
def test_whatever_is_accepted_is_clean_for_the_server(data: bytes, cuts: list[int]) -> None:
    events = read(cut(data, cuts))
    assert events == read([data])
    while END in events:
        end = events.index(END)
        message, events = events[: end + 1], events[end + 1 :]
        rebuilt = rebuild(message)
        request, body = parse_with_h11(rebuilt)
        assert body == b"".join(part for part in message if isinstance(part, bytes))
        names = [name for name, _ in request.headers]
        assert names.count(b"host") == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


@given(ANY_REQUEST)
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n")
def test_whatever_is_accepted_h11_accepts_as_it_came(data: bytes) -> None:
    reader = RequestReader(LIMITS)
    events = reader.feed(data)
    if END not in events:
        return
    message = events[: events.index(END)]
    head, body = message[0], b"".join(part for part in message if isinstance(part, bytes))
    assert isinstance(head, RequestHead)
    server = h11.Connection(h11.SERVER)
    server.receive_data(data.lstrip(b"\r\n"))
    request = server.next_event()
    assert isinstance(request, h11.Request), request
    assert (request.method, request.http_version) == (head.method, b"1.0" if head.http_1_0 else b"1.1")
    received = b""
    while isinstance(event := server.next_event(), h11.Data):
        received += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert received == body


# Pieces of responses.
LIES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 103 X\r\n\r\n", b"\r\n",
     b"HTTP/1.1 304\r\n", b"HTTP/1.1 101 X\r\n", b"Content-Length: 3\r\n", b"Content-Length: x\r\n", b"X: y\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: x\r\n", b"Set-Cookie: a=b\r\n",
     b"\r\nabc", b"\r\n3\r\nabc\r\n0\r\n\r\n", b"\r\n0\r\nT: u\r\n\r\n", b"abc", b"\n", b"\r", b"\x00"]
)  # fmt: skip


def read_response(parts: list[bytes], method: bytes) -> list[ResponseEvent]:
    reader = ResponseReader(LIMITS)
    reader.begin(method)
    events: list[ResponseEvent] = []
    for part in parts:
        for event in reader.feed(part):
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
        if events and isinstance(events[-1], Violation):
            return events
    if END not in events:
        events.append(reader.eof())
    return events


@given(st.lists(LIES, max_size=10).map(b"".join), CUTS, st.sampled_from([b"GET", b"HEAD"]))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [], b"GET")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", [], b"GET")
@example(b"HTTP/1.0 200 OK\r\n\r\nabc", [], b"GET")
@example(b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", [], b"HEAD")
def test_a_response_that_is_accepted_reaches_the_client_with_the_same_meaning(
    data: bytes, cuts: list[int], method: bytes
) -> None:
    events = read_response([data], method)
    assert read_response(cut(data, cuts), method) == events
    if END not in events:
        return
    message = events[: events.index(END)]
    heads = [event for event in message if isinstance(event, ResponseHead)]
    body = b"".join(event for event in message if isinstance(event, bytes))
    rebuilt = b"".join(encode_response(head, proxy_fields=FIELDS) for head in heads)
    if client_framing(heads[-1], http_1_0=False) is CHUNKED:
        rebuilt += (encode_chunk(body) if body else b"") + LAST_CHUNK
    else:
        rebuilt += body

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(rebuilt)
    for head in heads[:-1]:
        interim = client.next_event()
        assert isinstance(interim, h11.InformationalResponse), interim
        assert interim.status_code == head.status
    response = client.next_event()
    assert isinstance(response, h11.Response), response
    assert response.status_code == heads[-1].status
    received = b""
    while isinstance(event := client.next_event(), h11.Data):
        received += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert received == body
    assert client.trailing_data == (b"", False)
    cookies = [value for name, value in response.headers if name == b"set-cookie"]
    assert cookies == list(heads[-1].set_cookies)


@given(
    st.one_of(REQUESTS, st.lists(st.one_of(PIECES, LIES, st.binary(max_size=40)), max_size=20).map(b"".join)),
    CUTS,
    st.integers(1, 60),
)
def test_small_limits_hold_however_the_input_is_cut(data: bytes, cuts: list[int], size: int) -> None:
    limits = HeadLimits(size=size, fields=2, line=max(1, size - 8), chunk_line=8)
    whole, parts = RequestReader(limits), RequestReader(limits)
    assert joined(whole.feed(data)) == joined(
        [event for part in fed_until_refused(parts, cut(data, cuts)) for event in part]
    )


@given(st.binary(max_size=300), CUTS)
def test_garbage_never_raises(data: bytes, cuts: list[int]) -> None:
    read(cut(data, cuts))
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET")
    for part in cut(data, cuts):
        events = reader.feed(part)
        if events and isinstance(events[-1], Violation):
            return
    reader.eof()


@given(st.integers(200, 599), st.lists(FIELD, max_size=6), BODIES, st.booleans(), CUTS)
def test_a_good_response_is_read_the_same_however_it_is_cut(
    status: int, fields: list[tuple[bytes, bytes]], bodies: list[bytes], chunked: bool, cuts: list[int]
) -> None:
    bodiless = status in (204, 304)
    if bodiless:
        bodies = []
    body = b"".join(bodies)
    head = b"HTTP/1.1 %d Some Reason\r\n" % status
    head += b"".join(b"%b: %b\r\n" % (n, v) for n, v in fields if n.lower() != b"set-cookie")
    if chunked and not bodiless:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(encode_chunk, bodies)) + b"0\r\n\r\n"
    else:
        sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    reader = ResponseReader(LIMITS)
    reader.begin(b"GET")
    events = [event for part in cut(sent, cuts) for event in reader.feed(part)]
    assert isinstance(events[0], ResponseHead), events
    assert events[0].status == status
    assert events[-1] is END
    assert b"".join(event for event in events if isinstance(event, bytes)) == body
