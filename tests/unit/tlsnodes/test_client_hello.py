"""Hellos of real clients, and each way in which one can be wrong: whole, octet by octet, with more behind it."""

from __future__ import annotations

import pytest

from support.hellos import HELLOS, Hello, alpn, extension, message, records, server_name, supported_versions, ticket
from tlsnodes.passthrough.client_hello import (
    MAX_HELLO_BYTES,
    TLS_1_2,
    TLS_1_3,
    Alert,
    ClientHello,
    HelloError,
    HelloReader,
)

# Name, ALPN, octets of session id, whether there is a session ticket extension and how long, whether it speaks 1.3.
REAL = {
    "curl": ("curl.example.com", (b"h2", b"http/1.1"), 32, None, True),
    "gnutls-wget": ("localhost", (), 32, 0, True),
    "node": ("node.example.com", (b"h2",), 32, 0, True),
    "openssl-default": ("shop.example.com", (), 32, 0, True),
    "openssl-tls11": ("old.example.com", (), 0, 0, False),
    "openssl-tls12": ("www.example.com", (), 0, 0, False),
    "openssl-tls12-no-name": ("", (), 0, None, False),
    "openssl-tls12-resumed-by-id": ("", (), 32, None, False),
    "openssl-tls12-resumed-by-ticket": ("www.example.com", (), 32, 176, False),
    "openssl-tls13": ("www.example.com", (b"h2", b"http/1.1"), 32, 0, True),
    "openssl-tls13-resumed": ("www.example.com", (), 32, 0, True),
    "python": ("python.example.com", (), 32, 0, True),
}


def read(wire: bytes, step: int) -> ClientHello | HelloError | None:
    """What comes of octets that arrive `step` at a time."""
    reader = HelloReader()
    for at in range(0, len(wire), step):
        try:
            hello = reader.feed(wire[at : at + step])
        except HelloError as error:
            return error
        if hello is not None:
            return hello
    return None


@pytest.mark.parametrize("name", HELLOS)
def test_real_hellos_are_read(name: str) -> None:
    hello = read(HELLOS[name], len(HELLOS[name]))
    assert isinstance(hello, ClientHello)
    assert (
        hello.server_name,
        hello.alpn,
        len(hello.session_id),
        None if hello.ticket is None else len(hello.ticket),
        TLS_1_3 in hello.versions,
    ) == REAL[name]
    assert hello.legacy_version == (0x0302 if name == "openssl-tls11" else TLS_1_2)


@pytest.mark.parametrize("name", HELLOS)
def test_a_hello_is_read_octet_by_octet_and_not_before_its_end(name: str) -> None:
    wire = HELLOS[name]
    assert read(wire, 1) == read(wire, len(wire))
    assert read(wire[:-1], 1) is None


@pytest.mark.parametrize(
    ("extensions", "is_meant", "why"),
    [
        ([], True, "a client of TLS 1.2"),
        ([ticket(b"")], True, "it would take a ticket"),
        ([ticket(b"sealed")], False, "with a ticket the id is made up"),
        ([supported_versions(0x0A0A, TLS_1_3, TLS_1_2)], True, "it may be of a session of TLS 1.2"),
        ([supported_versions(0x0A0A, TLS_1_3)], False, "it has no such session"),
    ],
)
def test_whether_a_session_can_be_resumed_by_the_id(extensions: list[bytes], is_meant: bool, why: str) -> None:
    hello = read(Hello(session_id=b"id", extensions=extensions).wire, 100)
    assert isinstance(hello, ClientHello)
    assert hello.resumes_id == (b"id" if is_meant else b""), why


def test_what_follows_the_hello_is_left_alone() -> None:
    wire = Hello(extensions=[server_name(b"a.example")]).wire
    assert read(wire + b"\x17\x03\x03\x00\x05early", 10_000) == read(wire, 10_000)


def test_a_hello_may_have_no_extensions() -> None:
    hello = read(Hello(extensions=None).wire, 7)
    assert isinstance(hello, ClientHello)
    assert (hello.server_name, hello.ticket, hello.versions) == ("", None, ())


def test_names_of_kinds_that_nobody_knows_are_passed_over() -> None:
    hello = read(Hello(extensions=[server_name(b"a.example", kind=7)]).wire, 500)
    assert isinstance(hello, ClientHello)
    assert hello.server_name == ""


def test_records_count_and_not_only_what_is_in_them() -> None:
    wire = b"".join(records(bytes((octet,))) for octet in Hello(extensions=[ticket(bytes(20_000))]).message)
    error = read(wire, 6)
    assert isinstance(error, HelloError)
    assert error.reason == "a hello that is too long"


def named(name: bytes) -> bytes:
    return Hello(extensions=[server_name(name)]).wire


# (what it is, what comes, what the client is told, why)
WRONG = [
    ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Alert.UNEXPECTED_MESSAGE, "HTTP without TLS"),
    ("HTTP with another method", b"OPTIONS * HTTP/1.1\r\n\r\n", Alert.UNEXPECTED_MESSAGE, "HTTP without TLS"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Alert.UNEXPECTED_MESSAGE, "HTTP without TLS"),
    ("SSH", b"\x00\x00\x02\x14SSH", Alert.UNEXPECTED_MESSAGE, "no TLS"),
    ("zeros", bytes(64), Alert.UNEXPECTED_MESSAGE, "no TLS"),
    (
        "a hello of SSLv2",
        bytes.fromhex("802e0103010015000000100100800300800700c006004002008004008000000500000a"),
        Alert.PROTOCOL_VERSION,
        "a hello in the format of SSLv2",
    ),
    ("a record of another major version", b"\x16\x04\x01\x00\x05hello", Alert.UNEXPECTED_MESSAGE, "no TLS"),
    ("an alert", b"\x15\x03\x03\x00\x02\x02\x28", Alert.UNEXPECTED_MESSAGE, "a record that begins no handshake"),
    ("data", b"\x17\x03\x03\x00\x02ab", Alert.UNEXPECTED_MESSAGE, "a record that begins no handshake"),
    (
        "another message",
        records(message(2, bytes(40))),
        Alert.UNEXPECTED_MESSAGE,
        "a handshake that begins without a hello",
    ),
    ("an empty record", b"\x16\x03\x01\x00\x00", Alert.UNEXPECTED_MESSAGE, "an empty record"),
    (
        "a record that is too long",
        b"\x16\x03\x01\x40\x01" + bytes(9),
        Alert.RECORD_OVERFLOW,
        "a record that is too long",
    ),
    (
        "a message that says it is too long",
        records(b"\x01\xff\xff\xff" + bytes(9)),
        Alert.ILLEGAL_PARAMETER,
        "a hello that is too long",
    ),
    (
        "records that are too many",
        records(Hello(extensions=[ticket(bytes(MAX_HELLO_BYTES - 100))]).message, [100] * 400),
        Alert.ILLEGAL_PARAMETER,
        "a hello that is too long",
    ),
    ("a version before SSLv3", Hello(version=0x0200).wire, Alert.PROTOCOL_VERSION, "a version that is not of TLS"),
    ("a version that is none", Hello(version=0x7F1C).wire, Alert.PROTOCOL_VERSION, "a version that is not of TLS"),
    (
        "a session id of 33 octets",
        Hello(session_id=bytes(33)).wire,
        Alert.DECODE_ERROR,
        "a session id of more than 32 octets",
    ),
    ("no cipher suite", Hello(suites=b"").wire, Alert.DECODE_ERROR, "a list of cipher suites that is none"),
    ("half a cipher suite", Hello(suites=b"\x13").wire, Alert.DECODE_ERROR, "a list of cipher suites that is none"),
    ("no compression", Hello(compressions=b"").wire, Alert.DECODE_ERROR, "no compression method"),
    ("octets behind it", Hello(rest=b"more").wire, Alert.DECODE_ERROR, "octets behind the hello"),
    ("nothing in it", records(message(1, b"")), Alert.DECODE_ERROR, "a hello that breaks off"),
    (
        "an extension that is longer than all of them",
        Hello(extensions=[b"\x00\x00\xff\xff"]).wire,
        Alert.DECODE_ERROR,
        "a hello that breaks off",
    ),
    ("half an extension", Hello(extensions=[b"\x00"]).wire, Alert.DECODE_ERROR, "a hello that breaks off"),
    (
        "extensions that are longer than the hello",
        Hello(extensions=None, rest=b"\x00\x09").wire,
        Alert.DECODE_ERROR,
        "a hello that breaks off",
    ),
    (
        "an extension twice",
        Hello(extensions=[server_name(b"a.example"), server_name(b"b.example")]).wire,
        Alert.ILLEGAL_PARAMETER,
        "an extension that comes twice",
    ),
    (
        "two names",
        Hello(extensions=[server_name(b"a.example", b"b.example")]).wire,
        Alert.ILLEGAL_PARAMETER,
        "two server names",
    ),
    ("an empty name", named(b""), Alert.ILLEGAL_PARAMETER, "a server name that is none"),
    ("a name with a NUL", named(b"a.example\x00.b"), Alert.ILLEGAL_PARAMETER, "a server name that is none"),
    ("a name with a line in it", named(b"a.example\r\n"), Alert.ILLEGAL_PARAMETER, "a server name that is none"),
    ("a name that is not ASCII", named("ä.example".encode()), Alert.ILLEGAL_PARAMETER, "a server name that is none"),
    ("a name of 256 octets", named(b"a" * 256), Alert.ILLEGAL_PARAMETER, "a server name that is none"),
    (
        "an empty list of names",
        Hello(extensions=[server_name()]).wire,
        Alert.DECODE_ERROR,
        "an extension that is not as long as it says",
    ),
    (
        "a list of names with something behind it",
        Hello(extensions=[extension(0, b"\x00\x04\x00\x00\x01a!")]).wire,
        Alert.DECODE_ERROR,
        "an extension that is not as long as it says",
    ),
    (
        "an empty protocol",
        Hello(extensions=[alpn(b"h2", b"")]).wire,
        Alert.DECODE_ERROR,
        "a list of protocols that is none",
    ),
    (
        "no versions",
        Hello(extensions=[supported_versions()]).wire,
        Alert.DECODE_ERROR,
        "an extension that is not as long as it says",
    ),
    (
        "half a version",
        Hello(extensions=[extension(43, b"\x03\x03\x04\x03")]).wire,
        Alert.DECODE_ERROR,
        "a hello that breaks off",
    ),
]


@pytest.mark.parametrize(("wire", "alert", "reason"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
@pytest.mark.parametrize("more", [b"", b"\x16\x03\x01\x00\x05more!"], ids=["alone", "with more"])
def test_what_is_wrong_is_refused_with_its_reason(wire: bytes, alert: Alert, reason: str, more: bytes) -> None:
    for step in (1, 5, len(wire) + len(more)):
        error = read(wire + more, step)
        assert isinstance(error, HelloError), f"{step} at a time"
        assert (error.alert, error.reason) == (alert, reason)


def test_alerts_are_plaintext_records() -> None:
    assert Alert.DECODE_ERROR.record == bytes.fromhex("15030300020232")
