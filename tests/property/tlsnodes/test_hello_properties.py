"""What holds for any hello, and for anything that is none."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from support.hellos import (
    CERTIFICATE,
    CHANGE_CIPHER_SPEC_RECORD,
    FLIGHTS,
    HELLOS,
    hello_for,
    message,
    new_session_ticket,
    records,
    server_hello,
)
from tlsnodes.passthrough.client_hello import MAX_HELLO_BYTES, ClientHello, HelloError, HelloReader
from tlsnodes.passthrough.server_flight import NewSession, ServerFlight

NAMES = st.one_of(st.just(""), st.text("abcxyz0189-_.", min_size=1, max_size=255))
CLIENT_HELLOS = st.builds(
    ClientHello,
    legacy_version=st.integers(0x0300, 0x0303),
    session_id=st.binary(max_size=32),
    server_name=NAMES,
    alpn=st.lists(st.binary(min_size=1, max_size=255), max_size=5).map(tuple),
    ticket=st.none() | st.binary(max_size=3000),
    versions=st.lists(st.integers(0, 0xFFFF), max_size=127).map(tuple),
)
SIZES = st.lists(st.integers(1, 600), max_size=30)
CUTS = st.lists(st.integers(0, 6000), max_size=12)

# Where to change what: (place, new octet); (place, how many octets go, what comes instead).
CHANGES = st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4)


def pieces(wire: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    return [wire[start:end] for start, end in pairwise(places)]


def read(parts: list[bytes]) -> ClientHello | tuple[int, str] | None:
    reader = HelloReader()
    for part in parts:
        try:
            hello = reader.feed(part)
        except HelloError as error:
            return error.alert, error.reason
        if hello is not None:
            return hello
    return None


def change(wire: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, gone, instead in changes:
        at = place % (len(wire) + 1)
        wire = wire[:at] + instead + wire[at + gone :]
    return wire


@given(CLIENT_HELLOS, SIZES, CUTS)
def test_a_hello_is_read_back_however_it_is_cut(hello: ClientHello, sizes: list[int], cuts: list[int]) -> None:
    wire = records(hello_for(hello).message, sizes)
    assert read(pieces(wire, cuts)) == hello
    assert read([wire[:-1]]) is None


@given(st.sampled_from(list(HELLOS.values())), CHANGES, CUTS)
def test_changed_hellos_are_read_or_refused_the_same_however_they_are_cut(
    wire: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    changed = change(wire, changes)
    found = read([changed])
    assert read(pieces(changed, cuts)) == found
    assert read(pieces(changed, list(range(len(changed))))) == found


@given(st.binary(max_size=400), CUTS)
@example(b"\x16\x03\x01" * 200, [])
def test_anything_is_read_or_refused_the_same_however_it_is_cut(wire: bytes, cuts: list[int]) -> None:
    found = read([wire])
    assert read(pieces(wire, cuts)) == found
    assert found is not None or len(wire) <= MAX_HELLO_BYTES


@given(st.lists(st.binary(min_size=1, max_size=16_384), min_size=1, max_size=6))
def test_nobody_makes_it_keep_more_than_a_hello_may_have(bodies: list[bytes]) -> None:
    wire = b"".join(records(b"\x01\x00\x7f\x00" + body if not i else body) for i, body in enumerate(bodies))
    assert read([wire]) is not None or len(wire) <= MAX_HELLO_BYTES


def watch(parts: list[bytes]) -> tuple[bool, NewSession | None]:
    flight = ServerFlight()
    for part in parts:
        flight.feed(part)
    return flight.done, flight.session


@given(
    st.binary(max_size=32),
    st.binary(min_size=1, max_size=3000),
    st.integers(0, 2**32 - 1),
    st.integers(0, 3000),
    SIZES,
    CUTS,
)
def test_a_session_is_seen_however_it_is_cut(
    session_id: bytes, ticket: bytes, lifetime_s: int, other: int, sizes: list[int], cuts: list[int]
) -> None:
    content = server_hello(session_id) + message(CERTIFICATE, bytes(other)) + new_session_ticket(ticket, lifetime_s)
    wire = records(content, sizes) + CHANGE_CIPHER_SPEC_RECORD
    expected = NewSession(session_id=session_id, ticket=ticket, lifetime_s=lifetime_s)
    assert watch(pieces(wire, cuts)) == (True, expected)


@given(st.sampled_from(list(FLIGHTS.values())), CHANGES, CUTS)
def test_changed_flights_are_watched_the_same_however_they_are_cut(
    wire: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    changed = change(wire, changes)
    assert watch(pieces(changed, cuts)) == watch([changed])
