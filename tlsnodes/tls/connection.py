"""One server-side TLS connection, sans I/O: ciphertext in, plaintext and ciphertext out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import tlsnodes.tls._openssl as _openssl
from tlsnodes.tls.old_context import TlsContext

_ffi = _openssl.ffi
_lib = _openssl.lib
_receive = _lib.pf_receive
_send = _lib.pf_send
_unpack = _ffi.unpack


class TlsState(IntEnum):
    """Where a connection stands; the states only ever go down this list."""

    HANDSHAKING = _lib.PF_HANDSHAKING
    OPEN = _lib.PF_OPEN
    PEER_CLOSED = _lib.PF_PEER_CLOSED  # close_notify came: nothing more to read, writing is still allowed
    FAILED = _lib.PF_FAILED


_STATES = tuple(TlsState)
_OPEN = TlsState.OPEN
_FAILED = TlsState.FAILED


class TlsResult(NamedTuple):
    """What one call to `TlsConnection.receive` brought.

    Attributes:
        plaintext: decrypted application data; empty when there is none.
        ciphertext: to be sent to the peer, also when the connection failed: then it is the alert.
        state: of the connection after the call.
    """

    plaintext: bytes
    ciphertext: bytes
    state: TlsState


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeInfo:
    """What the handshake agreed on."""

    version: str
    cipher: str
    resumed: bool
    server_name: str | None


class TlsFailure(Exception):
    """OpenSSL refused to encrypt: the connection is of no further use."""


class TlsConnection:
    """A server's side of one TLS connection (RFC 8446, RFC 5246).

    The caller moves the bytes. After FAILED nothing may be received or sent.
    """

    __slots__ = ("_frame", "_ssl", "failure", "state")

    def __init__(self, context: TlsContext) -> None:
        ssl = _lib.pf_accept(context.handle)
        if not ssl:
            raise MemoryError
        self._ssl: Any = _ffi.gc(ssl, _lib.SSL_free)
        self._frame = context.frame
        self.state = TlsState.HANDSHAKING
        self.failure: str | None = None
        """Why the state is FAILED: OpenSSL's words, such as "no shared cipher"."""

    def receive(self, data: bytes) -> TlsResult:
        """Take what the peer sent: any number of bytes, any part of a record."""
        frame = self._frame
        state = self.state = _STATES[_receive(self._ssl, frame, data, len(data))]
        plain_len, cipher_len = frame.plain_len, frame.cipher_len
        result = TlsResult(
            _unpack(frame.plain, plain_len) if plain_len else b"",
            _unpack(frame.cipher, cipher_len) if cipher_len else b"",
            state,
        )
        if state is _FAILED:
            reason = frame.reason
            self.failure = _ffi.string(reason).decode() if reason else "unknown"
        return result

    def send(self, plaintext: bytes) -> bytes:
        """Encrypt; the handshake must be over. Empty plaintext gives an empty result.

        Raises:
            TlsFailure: the connection cannot carry data.
        """
        if not plaintext:
            return b""
        frame = self._frame
        if _send(self._ssl, frame, plaintext, len(plaintext)) != _OPEN:
            self.state = TlsState.FAILED
            self.failure = _ffi.string(frame.reason).decode() if frame.reason else "unknown"
            raise TlsFailure(self.failure)
        ciphertext: bytes = _unpack(frame.cipher, frame.cipher_len)
        return ciphertext

    def close(self) -> bytes:
        """The close_notify alert that ends our side; empty when the handshake is not over or the connection failed."""
        if self.state not in (TlsState.OPEN, TlsState.PEER_CLOSED):
            return b""
        _lib.pf_close(self._ssl, self._frame)
        ciphertext: bytes = _unpack(self._frame.cipher, self._frame.cipher_len)
        return ciphertext

    @property
    def resumed(self) -> bool:
        """The handshake resumed an earlier session; once the state is OPEN."""
        return bool(_lib.SSL_session_reused(self._ssl))

    def handshake_info(self) -> HandshakeInfo:
        """What was agreed; once the state is OPEN."""
        name = _lib.SSL_get_servername(self._ssl, _lib.TLSEXT_NAMETYPE_host_name)
        return HandshakeInfo(
            version=_ffi.string(_lib.SSL_get_version(self._ssl)).decode(),
            cipher=_ffi.string(_lib.SSL_get_cipher_name(self._ssl)).decode(),
            resumed=self.resumed,
            server_name=_ffi.string(name).decode("ascii", "backslashreplace") if name else None,
        )
