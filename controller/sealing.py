"""What is secret in the store: sealed with a key that is not there (AES-256-GCM)."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Seal:
    """Seals and opens.

    Args:
        secret: what its key is derived from (HKDF, RFC 5869).
        purpose: keys for different purposes are different.
        random: makes so many octets that never come again.
    """

    def __init__(self, secret: bytes, purpose: str, random: Callable[[int], bytes]) -> None:
        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode()).derive(secret)
        self._cipher = AESGCM(derived)
        self._random = random

    def close(self, content: bytes, name: str) -> bytes:
        """Sealed, for what has this name in the store."""
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, name.encode())

    def maybe_open(self, sealed: bytes, name: str) -> bytes | None:
        """What was sealed; None: not with this secret, not under this name, or it was changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            return None
