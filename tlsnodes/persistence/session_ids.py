"""TLS 1.2 session ids that say who issued them, and sessions sealed for the store [P7].

    session id: node id (16 bits) · worker (16) · random (96) · MAC over those and the vserver (128)
    sealed: nonce (96 bits) · AES-256-GCM of: size of the affinity (16) · packed affinity · session (DER)

The keys come from the vserver's secret. Who has it not can't make an id that costs a look-up, nor read or change what
the store has, nor put one session in the place of another.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ID_SIZE = 32
_ISSUER = Struct(">HH")
_RANDOM_SIZE = 12
_MAC_SIZE = 16
_NONCE_SIZE = 12
_SIZE = Struct(">H")


class Issuer(NamedTuple):
    """Who has issued a session id: the id of a node, and the number of one of its workers."""

    node: int
    worker: int


class SessionIds:
    """The ids and sealed sessions of one vserver.

    Args:
        secret: the same at all nodes.
        vserver_id: 16 bits.
        vserver_name: of the vserver; another one with the same id and secret can't read them.
        random: so many random bytes.
    """

    __slots__ = ("_key_key", "_mac_key", "_random", "_seal")

    def __init__(self, *, secret: bytes, vserver_id: int, vserver_name: str, random: Callable[[int], bytes]) -> None:
        whole = blake2b(secret, digest_size=64).digest()

        def key(purpose: bytes) -> bytes:
            vserver = vserver_id.to_bytes(2, "big") + vserver_name.encode()
            return blake2b(vserver, key=whole, person=purpose, digest_size=32).digest()

        self._mac_key = key(b"session id")
        self._key_key = key(b"session key")
        self._seal = AESGCM(key(b"session seal"))
        self._random = random

    def make(self, issuer: Issuer) -> bytes:
        """A new id."""
        text = _ISSUER.pack(*issuer) + self._random(_RANDOM_SIZE)
        return text + self._mac(text)

    def maybe_issuer(self, session_id: bytes) -> Issuer | None:
        """Who has issued an id; None: none of the vserver's nodes has."""
        text, mac = session_id[:-_MAC_SIZE], session_id[-_MAC_SIZE:]
        if len(session_id) != ID_SIZE or not compare_digest(mac, self._mac(text)):
            return None
        return Issuer(*_ISSUER.unpack_from(text))

    def key_of(self, session_id: bytes) -> bytes:
        """The key of the session's record in the store, which does not tell the id."""
        return b"session/" + blake2b(session_id, key=self._key_key, digest_size=16).digest()

    def seal(self, session_id: bytes, affinity: bytes, session: bytes) -> bytes:
        """The record of a session and of what it binds its client to, packed."""
        nonce = self._random(_NONCE_SIZE)
        return nonce + self._seal.encrypt(nonce, _SIZE.pack(len(affinity)) + affinity + session, session_id)

    def maybe_unseal(self, session_id: bytes, sealed: bytes) -> tuple[bytes, bytes] | None:
        """The packed affinity and the session; None: it was not sealed for this id with the vserver's secret."""
        try:
            plain = self._seal.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], session_id)
        except (InvalidTag, ValueError):
            return None
        (size,) = _SIZE.unpack_from(plain)
        return plain[_SIZE.size : _SIZE.size + size], plain[_SIZE.size + size :]

    def _mac(self, text: bytes) -> bytes:
        return blake2b(text, key=self._mac_key, digest_size=_MAC_SIZE).digest()
