"""What a server says in the clear of the session that it begins, up to TLS 1.2.

Sources: RFC 5246 7.3 and 7.4.1.3, RFC 5077 3.1 and 3.3: ServerHello names the session, NewSessionTicket comes before
ChangeCipherSpec, all of them in plaintext. From TLS 1.3 on everything behind the ServerHello is encrypted.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlsnodes.passthrough.client_hello import MAX_RECORD_BYTES, RECORD_HEADER_BYTES
from tlsnodes.passthrough.octets import Octets, TruncatedError

MAX_KEPT_BYTES = 20_000
"""A ServerHello or a ticket that is longer is not looked at; a ticket with a chain of certificates in it has 10 KB."""

_CHANGE_CIPHER_SPEC = 20
_HANDSHAKE = 22
_SERVER_HELLO = 2
_NEW_SESSION_TICKET = 4
_MESSAGE_HEADER_BYTES = 4
_SUPPORTED_VERSIONS = 43


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a client can resume a session by; empty: not by that.

    Attributes:
        session_id: as the server named it.
        ticket: as the client will show it.
        lifetime_s: of the ticket, as the server hints; 0: it does not say.
    """

    session_id: bytes
    ticket: bytes
    lifetime_s: int


class ServerFlight:
    """Watches what a server sends until the session has a name, or none that can be seen.

    Nothing that a server sends is an error here: what is not understood is watched no longer.

    Attributes:
        done: there is nothing more to see.
        session: once the server has agreed on one, up to TLS 1.2.
    """

    __slots__ = ("_kept", "_lifetime_s", "_message_rest", "_records", "_session_id", "_ticket", "done", "session")

    def __init__(self) -> None:
        self.done = False
        self.session: NewSession | None = None
        self._records = bytearray()  # what is no whole record yet
        self._kept = bytearray()  # of a message that is not whole yet
        self._message_rest = 0  # octets of a message that nobody looks at
        self._session_id: bytes | None = None
        self._ticket = b""
        self._lifetime_s = 0

    def feed(self, data: bytes) -> None:
        """Look at what is passed on."""
        if self.done:
            return
        self._records += data
        while not self.done and len(self._records) >= RECORD_HEADER_BYTES:
            kind, version = self._records[0], self._records[1]
            size = int.from_bytes(self._records[3:RECORD_HEADER_BYTES], "big")
            between = not self._kept and not self._message_rest
            if kind == _CHANGE_CIPHER_SPEC and version == 3 and self._session_id is not None and between:
                self.session = NewSession(session_id=self._session_id, ticket=self._ticket, lifetime_s=self._lifetime_s)
                self._end()
                return
            if kind != _HANDSHAKE or version != 3 or not 0 < size <= MAX_RECORD_BYTES:
                self._end()
                return
            end = RECORD_HEADER_BYTES + size
            if len(self._records) < end:
                return
            content = bytes(self._records[RECORD_HEADER_BYTES:end])
            del self._records[:end]
            self._take(content)

    def _end(self) -> None:
        self.done = True
        self._records.clear()
        self._kept.clear()

    def _take(self, content: bytes) -> None:
        skipped = min(self._message_rest, len(content))
        self._message_rest -= skipped
        self._kept += content[skipped:]
        while not self.done and len(self._kept) >= _MESSAGE_HEADER_BYTES:
            kind = self._kept[0]
            size = int.from_bytes(self._kept[1:_MESSAGE_HEADER_BYTES], "big")
            end = _MESSAGE_HEADER_BYTES + size
            if kind not in (_SERVER_HELLO, _NEW_SESSION_TICKET):
                self._message_rest = max(0, end - len(self._kept))
                del self._kept[:end]
            elif size > MAX_KEPT_BYTES:
                self._end()
            elif len(self._kept) < end:
                return
            else:
                body = bytes(self._kept[_MESSAGE_HEADER_BYTES:end])
                del self._kept[:end]
                self._read(kind, Octets(body))

    def _read(self, kind: int, body: Octets) -> None:
        try:
            if kind == _SERVER_HELLO:
                session_id = _maybe_session_id(body)
                if session_id is None or self._session_id is not None:
                    self._end()
                self._session_id = session_id
            else:
                self._lifetime_s = body.number(4)
                self._ticket = body.vector(2)
        except TruncatedError:
            self._end()


def _maybe_session_id(hello: Octets) -> bytes | None:
    """Of a ServerHello; None from TLS 1.3 on, where it is the client's own, sent back."""
    hello.take(2 + 32)  # version, random
    session_id = hello.vector(1)
    hello.take(2 + 1)  # cipher suite, compression method
    if hello:
        extensions = Octets(hello.vector(2))
        while extensions:
            if extensions.number(2) == _SUPPORTED_VERSIONS:
                return None
            extensions.vector(2)
    return session_id
