"""The P4Runtime message classes, in one place.

They are generated values without I/O, so the pure cores may use them. They come with finsy, otherwise a client.
"""

from __future__ import annotations

from finsy.proto import p4d, p4i, p4r, p4t, rpc_status  # noqa: TID251 - message classes only, no client

__all__ = ["p4d", "p4i", "p4r", "p4t", "rpc_status"]
