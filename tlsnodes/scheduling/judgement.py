"""What checks say of a server, as it goes from who checks to who schedules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All that active checks and agent-checks have to say of a server now; applying it twice changes nothing.

    Attributes:
        alive: it may get requests.
        draining: only requests that are bound to it.
        weight_percent: of its configured weight.
        max_connections: instead of the configured one; 0: as many as come. None: as configured.
        reason: why it is not alive, or does not get all it could; may be empty.
    """

    alive: bool = True
    draining: bool = False
    weight_percent: int = 100
    max_connections: int | None = None
    reason: str = ""


UNJUDGED = Judgement()
"""Of a server that nobody checks, or has checked yet: it is taken as configured."""
