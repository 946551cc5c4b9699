"""The P4Runtime message classes that the pure modules use.

They are generated values without I/O; they come with finsy, whose client only `southbound.py` uses.
"""

from __future__ import annotations

from finsy.proto import p4d, p4i, p4r  # noqa: TID251 - message classes only, no client

__all__ = ["p4d", "p4i", "p4r"]
