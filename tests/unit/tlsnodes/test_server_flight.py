"""What is seen of sessions that servers begin."""

from __future__ import annotations

import pytest

from support.hellos import (
    CERTIFICATE,
    CHANGE_CIPHER_SPEC_RECORD,
    FLIGHTS,
    SERVER_HELLO_DONE,
    message,
    new_session_ticket,
    records,
    server_hello,
    supported_versions,
)
from tlsnodes.passthrough.server_flight import MAX_KEPT_BYTES, NewSession, ServerFlight

CERTIFICATES = message(CERTIFICATE, bytes(5000))
DONE = message(SERVER_HELLO_DONE, b"")
NAMED = server_hello(b"s" * 32)
TICKET = new_session_ticket(b"t" * 200, lifetime_s=300)


def watch(wire: bytes, step: int = 100_000) -> ServerFlight:
    flight = ServerFlight()
    for at in range(0, len(wire), step):
        flight.feed(wire[at : at + step])
    return flight


@pytest.mark.parametrize(
    ("name", "id_size", "ticket_size"),
    [("openssl-tls11", 0, 176), ("openssl-tls12", 0, 176), ("openssl-tls12-no-name", 32, 0)],
)
@pytest.mark.parametrize("step", [1, 9, 100_000])
def test_sessions_of_openssl_are_seen(name: str, id_size: int, ticket_size: int, step: int) -> None:
    flight = watch(FLIGHTS[name], step)
    assert flight.done
    assert flight.session is not None
    assert (len(flight.session.session_id), len(flight.session.ticket)) == (id_size, ticket_size)
    assert flight.session.lifetime_s == (7200 if ticket_size else 0)


@pytest.mark.parametrize("step", [1, 100_000])
def test_tls_1_3_shows_nothing(step: int) -> None:
    flight = watch(FLIGHTS["openssl-tls13"], step)
    assert flight.done
    assert flight.session is None
    assert watch(records(server_hello(b"c" * 32, supported_versions(0x0304)))).done


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("sizes", [[], [1] * 60, [3, 4, 5000, 2]], ids=["whole", "tiny records", "odd records"])
def test_messages_may_be_cut_into_records_anyhow(sizes: list[int], step: int) -> None:
    wire = records(NAMED + CERTIFICATES + DONE + TICKET, sizes) + CHANGE_CIPHER_SPEC_RECORD + b"\x16\x03\x03\x00\x28..."
    flight = watch(wire, step)
    assert flight.done
    assert flight.session == NewSession(session_id=b"s" * 32, ticket=b"t" * 200, lifetime_s=300)


def test_nothing_is_said_before_the_server_has_agreed() -> None:
    flight = watch(records(NAMED + CERTIFICATES + DONE + TICKET))
    assert not flight.done
    assert flight.session is None


@pytest.mark.parametrize(
    "wire",
    [
        CHANGE_CIPHER_SPEC_RECORD,
        records(NAMED) + b"\x15\x03\x03\x00\x02\x02\x28",
        records(NAMED) + b"\x17\x03\x03\x00\x02ab",
        records(NAMED) + b"\x16\x03\x03\x00\x00",
        records(NAMED) + b"\x16\x03\x03\x40\x01",
        records(NAMED + NAMED),
        records(NAMED + TICKET[:10]) + CHANGE_CIPHER_SPEC_RECORD,
        records(NAMED + CERTIFICATES[:10]) + CHANGE_CIPHER_SPEC_RECORD,
        records(message(2, b"short")),
        records(NAMED + message(4, b"short")),
        records(NAMED + new_session_ticket(bytes(MAX_KEPT_BYTES))),
        b"SSH-2.0-server\r\n",
    ],
    ids=[
        "no hello",
        "an alert",
        "data",
        "an empty record",
        "a record that is too long",
        "two hellos",
        "half a ticket",
        "half a certificate",
        "a hello that breaks off",
        "a ticket that breaks off",
        "a ticket that is too long",
        "no TLS",
    ],
)
@pytest.mark.parametrize("step", [1, 100_000])
def test_what_is_not_understood_is_watched_no_longer(wire: bytes, step: int) -> None:
    flight = watch(wire + records(NAMED + TICKET) + CHANGE_CIPHER_SPEC_RECORD, step)
    assert flight.done
    assert flight.session is None
