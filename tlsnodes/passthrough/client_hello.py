"""The ClientHello, read from what a client sends first, without any I/O.

Sources: RFC 8446 4.1.2 and 5.1, RFC 5246 6.2.1 and 7.4.1.2, RFC 6066 3 (server name), RFC 5077 3.2 (session ticket),
RFC 7301 3.1 (ALPN). Of a TLS 1.3 hello the tickets are left alone: servers send them encrypted, so nobody on the way
knows whose they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from tlsnodes.passthrough.octets import Octets, TruncatedError

MAX_HELLO_BYTES = 32_768
"""A hello and its records may not take more. Browsers send 2 KB; the rest is for long tickets and post-quantum keys."""

MAX_RECORD_BYTES = 16_384
"""RFC 8446, 5.1."""

RECORD_HEADER_BYTES = 5
TLS_1_2 = 0x0303
TLS_1_3 = 0x0304

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MESSAGE_HEADER_BYTES = 4
_SERVER_NAME = 0
_HOST_NAME = 0
_ALPN = 16
_SESSION_TICKET = 35
_SUPPORTED_VERSIONS = 43
_METHOD = re.compile(rb"[A-Z]{2,}[ /]?")
_NAME = re.compile(rb"[A-Za-z0-9_.:-]{1,255}")  # RFC 6066 forbids addresses, yet some send them: they match no route


class Alert(IntEnum):
    """What a client is told; RFC 8446, 6."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80

    @property
    def record(self) -> bytes:
        """A fatal alert, in plaintext, as a server sends it that has not agreed on anything yet."""
        return bytes((21, 3, 3, 0, 2, 2, self))


class HelloError(Exception):
    """What a client sent begins no TLS connection.

    Attributes:
        alert: what it is told.
        reason: a few words, for logs and counts.
    """

    def __init__(self, alert: Alert, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """What a client says in the clear.

    Attributes:
        legacy_version: the highest version up to TLS 1.2 that it speaks, such as 0x0303.
        session_id: up to 32 octets; a client of TLS 1.3 may have made it up.
        server_name: in lower case; empty when there is none.
        alpn: protocols that it offers.
        ticket: of a session of TLS 1.2 or before; empty when it wants one, None when it does not.
        versions: as it prefers them, GREASE (RFC 8701) among them; empty when it does not say.
    """

    legacy_version: int
    session_id: bytes
    server_name: str
    alpn: tuple[bytes, ...]
    ticket: bytes | None
    versions: tuple[int, ...]

    @property
    def resumes_id(self) -> bytes:
        """The session id, if it can be that of a session up to TLS 1.2; else empty.

        With a ticket the id is the client's own invention (RFC 5077, 3.4); whoever speaks later versions only has none.
        """
        is_old = not self.versions or any(version <= TLS_1_2 for version in self.versions)
        return self.session_id if is_old and not self.ticket else b""


class HelloReader:
    """Puts a ClientHello together from records; how the octets are cut in pieces makes no difference."""

    __slots__ = ("_message", "_records", "_taken")

    def __init__(self) -> None:
        self._records = bytearray()  # what is no whole record yet
        self._message = bytearray()
        self._taken = 0  # octets of whole records

    def feed(self, data: bytes) -> ClientHello | None:
        """Take what has come; the hello once it is whole, and None before. What follows it is left alone.

        Raises:
            HelloError: there is no hello to come. Nothing may be fed after that.
        """
        self._records += data
        while len(self._records) >= RECORD_HEADER_BYTES:
            size = _record_size(bytes(self._records[:RECORD_HEADER_BYTES]))
            end = RECORD_HEADER_BYTES + size
            if self._taken + end > MAX_HELLO_BYTES:
                raise HelloError(Alert.ILLEGAL_PARAMETER, "a hello that is too long")
            if len(self._records) < end:
                return None
            self._taken += end
            self._message += self._records[RECORD_HEADER_BYTES:end]
            del self._records[:end]
            body = self._maybe_body()
            if body is not None:
                return parse_client_hello(body)
        return None

    def _maybe_body(self) -> bytes | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise HelloError(Alert.UNEXPECTED_MESSAGE, "a handshake that begins without a hello")
        if len(message) < _MESSAGE_HEADER_BYTES:
            return None
        end = _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:_MESSAGE_HEADER_BYTES], "big")
        if end > MAX_HELLO_BYTES:
            raise HelloError(Alert.ILLEGAL_PARAMETER, "a hello that is too long")
        return bytes(message[_MESSAGE_HEADER_BYTES:end]) if len(message) >= end else None


def _record_size(header: bytes) -> int:
    """Of the record's content; the version's second octet counts for nothing (RFC 8446, 5.1)."""
    size = int.from_bytes(header[3:], "big")
    if header[0] == _HANDSHAKE and header[1] == 3:
        if size > MAX_RECORD_BYTES:
            raise HelloError(Alert.RECORD_OVERFLOW, "a record that is too long")
        if size == 0:
            raise HelloError(Alert.UNEXPECTED_MESSAGE, "an empty record")
        return size
    if header[0] & 0x80 and header[2] == _CLIENT_HELLO:  # RFC 5246, E.2
        raise HelloError(Alert.PROTOCOL_VERSION, "a hello in the format of SSLv2")
    if _METHOD.match(header):
        raise HelloError(Alert.UNEXPECTED_MESSAGE, "HTTP without TLS")
    if header[1] == 3 and 20 <= header[0] <= 24:
        raise HelloError(Alert.UNEXPECTED_MESSAGE, "a record that begins no handshake")
    raise HelloError(Alert.UNEXPECTED_MESSAGE, "no TLS")


def parse_client_hello(body: bytes) -> ClientHello:
    """Read a ClientHello, without the header of the handshake message.

    Raises:
        HelloError: it is none.
    """
    try:
        return _parse(Octets(body))
    except TruncatedError:
        raise HelloError(Alert.DECODE_ERROR, "a hello that breaks off") from None


def _parse(hello: Octets) -> ClientHello:
    legacy_version = hello.number(2)
    if legacy_version >> 8 != 3:
        raise HelloError(Alert.PROTOCOL_VERSION, "a version that is not of TLS")
    hello.take(32)  # random
    session_id = hello.vector(1)
    if len(session_id) > 32:
        raise HelloError(Alert.DECODE_ERROR, "a session id of more than 32 octets")
    suites = hello.vector(2)
    if not suites or len(suites) % 2:
        raise HelloError(Alert.DECODE_ERROR, "a list of cipher suites that is none")
    if not hello.vector(1):
        raise HelloError(Alert.DECODE_ERROR, "no compression method")
    extensions = _extensions(hello)
    name = extensions.get(_SERVER_NAME)
    protocols = extensions.get(_ALPN)
    versions = extensions.get(_SUPPORTED_VERSIONS)
    return ClientHello(
        legacy_version=legacy_version,
        session_id=session_id,
        server_name=_parse_name(name) if name is not None else "",
        alpn=_parse_protocols(protocols) if protocols is not None else (),
        ticket=extensions.get(_SESSION_TICKET),
        versions=_parse_versions(versions) if versions is not None else (),
    )


def _extensions(hello: Octets) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if not hello:  # RFC 5246, 7.4.1.2: there need be none
        return found
    rest = Octets(hello.vector(2))
    if hello:
        raise HelloError(Alert.DECODE_ERROR, "octets behind the hello")
    while rest:
        kind = rest.number(2)
        if kind in found:
            raise HelloError(Alert.ILLEGAL_PARAMETER, "an extension that comes twice")
        found[kind] = rest.vector(2)
    return found


def _parse_name(extension: bytes) -> str:
    names = Octets(_only(Octets(extension), 2))
    found = None
    while names:
        kind = names.number(1)
        name = names.vector(2)
        if kind != _HOST_NAME:
            continue
        if found is not None:
            raise HelloError(Alert.ILLEGAL_PARAMETER, "two server names")
        if not _NAME.fullmatch(name):
            raise HelloError(Alert.ILLEGAL_PARAMETER, "a server name that is none")
        found = name.decode("ascii").lower()
    return found or ""


def _parse_protocols(extension: bytes) -> tuple[bytes, ...]:
    rest = Octets(_only(Octets(extension), 2))
    protocols = []
    while rest:
        protocols.append(rest.vector(1))
    if not all(protocols):
        raise HelloError(Alert.DECODE_ERROR, "a list of protocols that is none")
    return tuple(protocols)


def _parse_versions(extension: bytes) -> tuple[int, ...]:
    rest = Octets(_only(Octets(extension), 1))
    versions = []
    while rest:
        versions.append(rest.number(2))
    return tuple(versions)


def _only(extension: Octets, size: int) -> bytes:
    """The one vector that an extension is made of; it may not be empty."""
    found = extension.vector(size)
    if extension or not found:
        raise HelloError(Alert.DECODE_ERROR, "an extension that is not as long as it says")
    return found
