"""TLS handshake messages made by hand, and those of real stacks (tests/corpus/hellos)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlsnodes.passthrough.client_hello import ClientHello

CORPUS = Path(__file__).parents[1] / "corpus" / "hellos"
HELLOS = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.hello"))}
FLIGHTS = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.flight"))}

CLIENT_HELLO = 1
SERVER_HELLO = 2
NEW_SESSION_TICKET = 4
CERTIFICATE = 11
SERVER_HELLO_DONE = 14

HANDSHAKE = 22
CHANGE_CIPHER_SPEC_RECORD = bytes((20, 3, 3, 0, 1, 1))


def vector(size: int, content: bytes) -> bytes:
    """A length of `size` octets and what it is of."""
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names)))


def alpn(*protocols: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def ticket(content: bytes) -> bytes:
    return extension(35, content)


def supported_versions(*versions: int) -> bytes:
    return extension(43, vector(1, b"".join(version.to_bytes(2, "big") for version in versions)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The parts of a ClientHello; `extensions` None: there is not even an empty list of them."""

    version: int = 0x0303
    session_id: bytes = b""
    suites: bytes = bytes.fromhex("1a1ac02bc02f1301")
    compressions: bytes = b"\x00"
    extensions: Sequence[bytes] | None = ()
    rest: bytes = b""

    @property
    def message(self) -> bytes:
        body = self.version.to_bytes(2, "big") + bytes(range(32)) + vector(1, self.session_id)
        body += vector(2, self.suites) + vector(1, self.compressions)
        if self.extensions is not None:
            body += vector(2, b"".join(self.extensions))
        return message(CLIENT_HELLO, body + self.rest)

    @property
    def wire(self) -> bytes:
        return records(self.message)


def hello_for(wanted: ClientHello) -> Hello:
    """The hello that says just that; GREASE (RFC 8701) before and behind it."""
    extensions = [extension(0x1A1A, b""), extension(10, bytes.fromhex("0004aaaa001d"))]
    if wanted.server_name:
        extensions.append(server_name(wanted.server_name.encode()))
    if wanted.alpn:
        extensions.append(alpn(*wanted.alpn))
    if wanted.ticket is not None:
        extensions.append(ticket(wanted.ticket))
    if wanted.versions:
        extensions.append(supported_versions(*wanted.versions))
    extensions.append(extension(0xDADA, b"\x00"))
    return Hello(version=wanted.legacy_version, session_id=wanted.session_id, extensions=extensions)


def message(kind: int, body: bytes) -> bytes:
    """A handshake message."""
    return bytes((kind,)) + vector(3, body)


def records(content: bytes, sizes: Sequence[int] = (), *, kind: int = HANDSHAKE, version: int = 0x0301) -> bytes:
    """`content` in records of these sizes, as many as it takes; the rest in records that are as large as can be."""
    wire = b""
    at = 0
    left = list(sizes)
    while at < len(content):
        size = min(left.pop(0) if left else 16_384, len(content) - at)
        wire += bytes((kind,)) + version.to_bytes(2, "big") + vector(2, content[at : at + size])
        at += size
    return wire


def server_hello(session_id: bytes, *extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, session_id) + b"\xc0\x2f\x00"
    return message(SERVER_HELLO, body + (vector(2, b"".join(extensions)) if extensions else b""))


def new_session_ticket(content: bytes, lifetime_s: int = 7200) -> bytes:
    return message(NEW_SESSION_TICKET, lifetime_s.to_bytes(4, "big") + vector(2, content))
