"""Every row of hostile HTTP: whole, octet by octet, cut at every place, and with something behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.hostile_http import OK, REQUESTS, RESPONSES, TAMED, Refused, Tamed, tables
from tlsnodes.http.encode import encode_chunk, encode_request, last_chunk
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import CHUNKED, END, HeadLimits, Violation
from tlsnodes.http.reader import RequestReader, ResponseReader

PAGE = Path(__file__).parents[3] / "docs/hostile-input.md"


def ways(data: bytes) -> list[list[bytes]]:
    """Whole, octet by octet, with something behind it, and in two parts, cut everywhere if it is short."""
    step = max(1, len(data) // 500)
    halves = [[data[:at], data[at:]] for at in range(1, len(data), step)]
    return [[data], [data[i : i + 1] for i in range(len(data))], [data + b"GET /x"], *halves]


def request_end(parts: list[bytes]) -> Violation | None:
    reader = RequestReader(HeadLimits())
    for part in parts:
        events = reader.feed(part)
        if events and isinstance(events[-1], Violation):
            return events[-1]
    return None


def response_end(parts: list[bytes]) -> Violation | None:
    reader = ResponseReader(HeadLimits())
    reader.begin(b"GET")
    for part in parts:
        events = reader.feed(part)
        if events and isinstance(events[-1], Violation):
            return events[-1]
    return None


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row.title)
def test_a_request_that_is_refused(row: Refused) -> None:
    for parts in ways(row.sent):
        assert request_end(parts) == Violation(status=row.status, sentence=row.sentence), parts


@pytest.mark.parametrize("row", RESPONSES, ids=lambda row: row.title)
def test_a_response_that_is_refused(row: Refused) -> None:
    for parts in ways(row.sent):
        assert response_end(parts) == Violation(status=row.status, sentence=row.sentence), parts


@pytest.mark.parametrize("row", TAMED, ids=lambda row: row.title)
def test_a_request_that_is_made_harmless(row: Tamed) -> None:
    for parts in ways(row.sent):
        reader = RequestReader(HeadLimits())
        events = [event for part in parts for event in reader.feed(part)]
        events = events[: events.index(END) + 1]
        head, body = events[0], b"".join(event for event in events if isinstance(event, bytes))
        assert isinstance(head, RequestHead)
        rebuilt = encode_request(head, cookie=head.cookie, proxy_fields=b"")
        if head.framing is CHUNKED:
            rebuilt += (encode_chunk(body) if body else b"") + last_chunk(reader.trailers)
        else:
            rebuilt += body
        assert rebuilt == row.rebuilt, parts


def test_the_page_has_these_rows() -> None:
    assert tables() in PAGE.read_text()


def test_the_good_response_that_the_bad_ones_are_made_of() -> None:
    assert response_end([OK + b"Content-Length: 1\r\n\r\na"]) is None
