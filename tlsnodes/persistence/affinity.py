"""What binds a client to servers, whichever way it identifies itself: one record, and its packed form [P3, P8].

    version (8 bits) · vserver id (16) · end (32, seconds since the epoch) · digest of the server name asked for (64)
    · for each of up to four servers, in order of preference: id (16) · generation (16)

The packed form authenticates nothing: it stands inside what does, a TLS ticket or a sealed record of the store, except
for what is learnt in passing, with which the store is trusted. A server's generation is a fingerprint of its id and
address, so that an id that was given to another address binds nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

MAX_SERVERS = 4
DIGEST_SIZE = 8

_VERSION = 1
_HEAD = Struct(f">BHI{DIGEST_SIZE}s")
_SERVER = Struct(">HH")
_SIZES = frozenset(_HEAD.size + count * _SERVER.size for count in range(MAX_SERVERS + 1))
_LAST_END = 2**32 - 1
# Names that clients ask for come again and again; those that are made up push nothing of worth out.
_REMEMBERED_NAMES = 256


class ChosenBy(IntEnum):
    """Why a request got its server, by precedence; an index into the counts."""

    COOKIE = 0
    SESSION_ID = 1
    TICKET = 2
    SOURCE = 3  # the hash of the client's address
    POLICY = 4


class AffinityRefusal(Enum):
    """Why a packed affinity counts as absent."""

    MALFORMED = "malformed"
    FOREIGN_VSERVER = "foreign_vserver"
    FOREIGN_NAME = "foreign_name"  # it was made for another server name (SNI)
    EXPIRED = "expired"


class Affinity(NamedTuple):
    """What a client is bound to.

    Attributes:
        servers: ids, in order of preference; none: it is not bound.
        expires_s: the end, in seconds since the epoch.
    """

    servers: tuple[int, ...]
    expires_s: int


def server_generation(server_id: int, host: str, port: int) -> int:
    """16 bits that tell a server from another one that has, or had, the same id."""
    return int.from_bytes(blake2b(f"{server_id} {host} {port}".encode(), digest_size=2).digest(), "big")


@lru_cache(_REMEMBERED_NAMES)
def name_digest(name: bytes) -> bytes:
    """Of the server name that a client asks for; empty: it asks for none."""
    return blake2b(name.lower(), digest_size=DIGEST_SIZE).digest()


class AffinityCodec:
    """The packed form for one vserver.

    Args:
        vserver_id: 16 bits.
        maybe_generation: server id → its generation; None: there is no such server.
    """

    __slots__ = ("_maybe_generation", "_vserver_id")

    def __init__(self, vserver_id: int, maybe_generation: Callable[[int], int | None]) -> None:
        self._vserver_id = vserver_id
        self._maybe_generation = maybe_generation

    def encode(self, affinity: Affinity, digest: bytes) -> bytes:
        """Pack an affinity for clients that ask for the name of that digest; servers that are gone are left out."""
        packed = _HEAD.pack(_VERSION, self._vserver_id, min(affinity.expires_s, _LAST_END), digest)
        for server_id in affinity.servers[:MAX_SERVERS]:
            generation = self._maybe_generation(server_id)
            if generation is not None:
                packed += _SERVER.pack(server_id, generation)
        return packed

    def decode(self, packed: bytes, digest: bytes, now_s: float) -> Affinity | AffinityRefusal:
        """Read what a client that asks for the name of that digest is bound to; servers that are gone are left out."""
        size = len(packed)
        if size not in _SIZES or packed[0] != _VERSION:
            return AffinityRefusal.MALFORMED
        _, vserver_id, expires_s, of_name = _HEAD.unpack_from(packed)
        if vserver_id != self._vserver_id:
            return AffinityRefusal.FOREIGN_VSERVER
        if of_name != digest:
            return AffinityRefusal.FOREIGN_NAME
        if expires_s <= now_s:
            return AffinityRefusal.EXPIRED
        if size == _HEAD.size:  # the most frequent one: it binds to no server
            return Affinity((), expires_s)
        told = _SERVER.iter_unpack(packed[_HEAD.size :])
        servers = [server_id for server_id, generation in told if self._maybe_generation(server_id) == generation]
        return Affinity(tuple(servers), expires_s)


def digest_of(packed: bytes) -> bytes:
    """The digest in a packed affinity that `AffinityCodec.decode` has accepted."""
    return packed[_HEAD.size - DIGEST_SIZE : _HEAD.size]
