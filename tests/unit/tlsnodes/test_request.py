"""What a client may send, and what the server gets of it."""

from __future__ import annotations

import pytest

from tlsnodes.http.encode import encode_request
from tlsnodes.http.forwarding import ClientFields, ForwardingRules
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import CHUNKED, END, LENGTH, NO_BODY, HeadLimits, Violation
from tlsnodes.http.reader import RequestEvent, RequestReader

LIMITS = HeadLimits(size=4096, fields=20)
FIELDS = ClientFields(ForwardingRules(node_name="node1", scheme="https", port=443), "192.0.2.7")


def read(data: bytes, *, step: int | None = None) -> list[RequestEvent]:
    """Feed `data` whole or in steps; body parts are joined, so that the result does not depend on the step."""
    reader = RequestReader(LIMITS)
    events: list[RequestEvent] = []
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


def read_head(data: bytes) -> RequestHead:
    head = read(data)[0]
    assert isinstance(head, RequestHead), head
    return head


def refusal(data: bytes) -> Violation:
    *_, last = read(data)
    assert isinstance(last, Violation), last
    return last


REFUSED = [
    # status, a part of the sentence, request
    (400, "no Host", b"GET / HTTP/1.1\r\n\r\n"),
    (400, "no Host", b"GET / HTTP/1.0\r\n\r\n"),
    (400, "2 Host", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "2 Host", b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"),
    (400, "host name", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, "host name", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "host name", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "host name", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    (400, "host name", b"GET / HTTP/1.1\r\nHost: a:port\r\n\r\n"),
    (400, "disagree", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    (400, "disagree", b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "target", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "target *", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        400,
        "HTTP/1.1",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "HTTP/1.1",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabc"),
    (400, "HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, "coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
    (501, "coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        400,
        "HTTP/1.1",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
    (400, "HTTP/1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\nHost: a\n\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n"),
    (400, "HTTP/1.1", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, "HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, "HTTP/0.9", b"GET /\r\n\r\n"),
    (400, "HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (501, "method", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (501, "CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (501, "TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (417, "expectation", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\n"),
    (431, "more than 20", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20 + b"\r\n"),
    (431, "4096", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4096 + b"\r\n\r\n"),
    (431, "4096", b"GET /" + b"y" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
]


@pytest.mark.parametrize(("status", "part", "request_bytes"), REFUSED)
@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "bytewise", "sevens"])
def test_a_bad_request_gets_its_status(status: int, part: str, request_bytes: bytes, step: int | None) -> None:
    *_, last = read(request_bytes, step=step)
    assert isinstance(last, Violation), last
    assert last.status == status
    assert part in last.sentence


GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a?b=%20|{} HTTP/1.1\r\nHost: [::1]:8443\r\nX:\r\nY:  z  \r\n\r\n",
    b"HEAD / HTTP/1.0\r\nHost: www.example.test:443\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET https://A.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
]


@pytest.mark.parametrize("data", GOOD)
def test_any_cut_gives_the_same_events(data: bytes) -> None:
    whole = read(data)
    assert whole[-1] is END
    assert read(data, step=1) == whole
    assert read(data, step=5) == whole


@pytest.mark.parametrize("data", [d for d in GOOD if b"HTTP/1.1" in d])
@pytest.mark.parametrize("step", [None, 1])
def test_a_pipelined_request_follows_its_forerunner(data: bytes, step: int | None) -> None:
    alone = read(data)
    assert read(data + GOOD[0], step=step) == alone + read(GOOD[0])


def test_a_bad_request_behind_a_good_one_leaves_the_good_one() -> None:
    head, end, violation = read(GOOD[0] + b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert end is END
    assert isinstance(violation, Violation)


def test_body_framings() -> None:
    assert read_head(GOOD[0]).framing is NO_BODY
    length = read(GOOD[4])
    assert isinstance(length[0], RequestHead)
    assert (length[0].framing, length[0].content_length, length[1]) == (LENGTH, 5, b"hello")
    chunked = read(GOOD[6])
    assert isinstance(chunked[0], RequestHead)
    assert (chunked[0].framing, chunked[1], chunked[2]) == (CHUNKED, b"abcde", END)


@pytest.mark.parametrize(
    ("line", "keeps"),
    [
        (b"HTTP/1.1\r\n", True),
        (b"HTTP/1.1\r\nConnection: close\r\n", False),
        (b"HTTP/1.1\r\nConnection: keep-alive, Close\r\n", False),
        (b"HTTP/1.1\r\nConnection: x\r\nConnection: CLOSE\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_keep_alive(line: bytes, keeps: bool) -> None:
    assert read_head(b"GET / " + line + b"Host: a\r\n\r\n").keep_alive is keeps


def test_what_goes_to_the_server() -> None:
    head = read_head(
        b"POST https://www.example.test/x?y HTTP/1.1\r\n"
        b"Host: www.example.test\r\n"
        b"Accept: */*\r\n"
        b"cookie: a=1\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: http\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\n"
        b"Connection: keep-alive, X-Private, Host\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n"
        b"TE: trailers\r\nTrailer: T\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\n"
        b"Via: 1.1 other\r\n"
        b"Cookie: b=2\r\n"
        b"Expect: 100-Continue\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    ours = FIELDS.lines(authority=head.authority, http_1_0=False)
    assert encode_request(head, cookie=head.cookie, proxy_fields=ours) == (
        b"POST /x?y HTTP/1.1\r\n"
        b"Host: www.example.test\r\n"
        b"Accept: */*\r\n"
        b"Via: 1.1 other\r\n"
        b"Cookie: a=1; b=2\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Expect: 100-continue\r\n"
        b"X-Forwarded-Host: www.example.test\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\n"
        b"X-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Port: 443\r\n"
        b"Via: 1.1 node1\r\n\r\n"
    )


def test_expect_without_a_body_or_from_http_1_0_is_dropped() -> None:
    assert not read_head(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expects_continue
    old = b"POST / HTTP/1.0\r\nHost: a\r\nExpect: x\r\nContent-Length: 1\r\n\r\na"
    assert not read_head(old).expects_continue


def test_absolute_form_without_a_path() -> None:
    assert read_head(b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/"
    assert read_head(b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/?b"
    assert read_head(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").target == b"*"


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", id="field"),
        pytest.param(b"GET /", id="target"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", id="chunk extension"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ", id="trailer"),
        pytest.param(b"\r\n", id="empty lines"),
    ],
)
def test_what_never_ends_is_cut_at_the_limit(start: bytes) -> None:
    reader = RequestReader(LIMITS)
    reader.feed(start)
    more = b"\r\n" if start == b"\r\n" else b"ab"
    fed = 0
    events: list[RequestEvent] = []
    while not events:
        assert fed <= LIMITS.size, "no limit"
        fed += len(more)
        events = reader.feed(more)
    (violation,) = events
    assert isinstance(violation, Violation)
    assert violation.status == 431


def test_a_head_up_to_the_limits_passes_even_behind_a_large_body() -> None:
    body = b"x" * 10_000
    first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + body
    second = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4000 + b"\r\n\r\n"
    for step in (None, 1, 1000):
        events = read(first + second, step=step)
        assert [e for e in events if isinstance(e, Violation)] == []
        assert events[-1] is END
        assert len([e for e in events if isinstance(e, RequestHead)]) == 2


@pytest.mark.parametrize("cut", [5, 40, 1000, 4000])
def test_a_head_over_the_limit_is_refused_behind_another_request_too(cut: int) -> None:
    reader = RequestReader(LIMITS)
    data = GOOD[0] + b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4090 + b"\r\n\r\n"
    events = [*reader.feed(data[: len(GOOD[0]) + cut]), *reader.feed(data[len(GOOD[0]) + cut :])]
    assert isinstance(events[-1], Violation), events[-1]
    assert events[-1].status == 431


UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: k\r\n\r\n"
)


def test_an_upgrade_is_named_and_asked_for_anew() -> None:
    head = read_head(UPGRADE)
    assert (head.upgrade, head.lines) == (b"websocket", b"Sec-WebSocket-Key: k\r\n")
    assert encode_request(head, cookie=None, proxy_fields=b"Via: 1.1 n\r\n") == (
        b"GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Via: 1.1 n\r\n\r\n"
    )


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(UPGRADE.replace(b", Upgrade", b""), id="not named by Connection"),
        pytest.param(UPGRADE.replace(b"Upgrade: WebSocket\r\n", b""), id="no Upgrade"),
        pytest.param(UPGRADE.replace(b": WebSocket", b": h2c"), id="h2c"),
    ],
)
def test_what_is_no_upgrade_is_an_ordinary_request(request_bytes: bytes) -> None:
    head = read_head(request_bytes)
    assert head.upgrade is None
    assert b"pgrade" not in encode_request(head, cookie=None, proxy_fields=b"")


def test_a_choice_of_protocols_is_refused() -> None:
    assert refusal(UPGRADE.replace(b": WebSocket", b": a, b")).status == 501


def test_behind_an_upgrade_everything_is_data() -> None:
    reader = RequestReader(LIMITS)
    assert reader.feed(UPGRADE)[-1] is END
    reader.tunnel()
    assert reader.feed(b"\x81\x85GET / HTTP/1.1\r\n\r\n") == [b"\x81\x85GET / HTTP/1.1\r\n\r\n"]


def test_trailers_are_kept_without_those_that_only_heads_may_have() -> None:
    chunks = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    for step in (1, 1000):
        reader = RequestReader(LIMITS)
        data = (
            chunks
            + b"X-Sum:  1 \r\ncontent_length: 3\r\nTransfer-Encoding: chunked\r\nY: 2\r\nX-Forwarded-For: 6\r\n\r\n"
        )
        for start in range(0, len(data), step):
            events = reader.feed(data[start : start + step])
        assert events[-1] is END
        assert reader.trailers == b"X-Sum: 1\r\nY: 2\r\n"
        assert reader.feed(GOOD[0])[-1] is END
        assert reader.trailers == b""


def test_chunk_extensions_are_bounded_together() -> None:
    reader = RequestReader(LIMITS)
    events = reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    fed = 0
    while not isinstance(events[-1], Violation):
        assert fed <= LIMITS.size, "no limit"
        events = reader.feed(b"1;" + b"x" * 99 + b"\r\na\r\n")
        fed += 100
    assert events[-1] == Violation(status=431, sentence="chunk extensions of more than 4096 bytes")


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        (b"TE: trailers\r\nConnection: TE\r\n", True),
        (b"TE: gzip;q=0.5, Trailers\r\nConnection: close, te\r\n", True),
        (b"TE: trailers\r\n", False),
        (b"TE: gzip\r\nConnection: TE\r\n", False),
    ],
)
def test_who_takes_trailers(fields: bytes, takes: bool) -> None:
    assert read_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n").takes_trailers is takes


def test_fields_on_demand() -> None:
    head = read_head(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent:  x y \r\nEmpty:\r\nUSER-AGENT: z\r\n\r\n")
    assert head.fields() == [(b"User-Agent", b"x y"), (b"Empty", b""), (b"USER-AGENT", b"z")]
    assert head.get(b"user-agent") == b"x y"
    assert head.get(b"empty") == b""
    assert head.get(b"user") is None
    assert head.get(b"host") is None
    assert read_head(GOOD[0]).get(b"x") is None
