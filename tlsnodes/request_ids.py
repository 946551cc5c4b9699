"""Names for requests, that nobody can guess [N7] (pure)."""

from __future__ import annotations

from collections.abc import Callable

from tlsnodes.http.forwarding import request_id

BATCH = 256
_ID_BYTES = 16


class RequestIds:
    """Makes them in batches: a call of the kernel for each would cost more than all the rest.

    Args:
        random: as many random octets as it is told, fit for secrets.
    """

    __slots__ = ("_random", "_ready")

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._ready: list[bytes] = []

    def make(self) -> bytes:
        """Another one."""
        if not self._ready:
            octets = self._random(BATCH * _ID_BYTES)
            self._ready = [request_id(octets[i : i + _ID_BYTES]) for i in range(0, len(octets), _ID_BYTES)]
        return self._ready.pop()
