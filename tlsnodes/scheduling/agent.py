"""The agent-check protocol: what a server's agent says of it in one line (HAProxy's configuration manual, agent-check).

| word | means |
|---|---|
| `up` | it may get requests, as far as checks agree |
| `down`, `stopped`, `fail`, `failed`, each with an optional `#reason` | it may not |
| `ready` | takes back `drain` and `maint` |
| `drain` | only requests that are bound to it |
| `maint` | no requests at all |
| `75%` | that much of its configured weight, up to 1000% |
| `maxconn:30` | so many requests in progress; 0: as many as come |

Words are separated by spaces, tabs or commas, in either case of letters. What a line does not mention stays as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

MAX_LINE = 1024
MAX_PERCENT = 1000
MAX_CONNECTIONS = 1_000_000


class Mode(Enum):
    """What the agent wants done with its server."""

    READY = auto()
    DRAIN = auto()
    MAINT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a line said; None: nothing of that.

    Attributes:
        alive: the server may get requests.
        mode: the last of `ready`, `drain`, `maint`.
        weight_percent: of the configured weight.
        max_connections: 0 for as many as come.
        reason: the word that means down, with the reason if there is one.
        unknown_words: words that mean nothing.
    """

    alive: bool | None = None
    mode: Mode | None = None
    weight_percent: int | None = None
    max_connections: int | None = None
    reason: str = ""
    unknown_words: int = 0

    def updated(self, newer: Reply) -> Reply:
        """What holds after `newer`."""
        return Reply(
            alive=self.alive if newer.alive is None else newer.alive,
            mode=newer.mode or self.mode,
            weight_percent=self.weight_percent if newer.weight_percent is None else newer.weight_percent,
            max_connections=self.max_connections if newer.max_connections is None else newer.max_connections,
            reason=self.reason if newer.alive is None else newer.reason,
            unknown_words=newer.unknown_words,
        )


def parse_line(line: bytes) -> Reply:
    """Read a line, with or without its end; of words that contradict each other the last one holds."""
    text, _, description = line.partition(b"\n")[0].rstrip(b"\r").partition(b"#")
    alive = mode = weight_percent = max_connections = None
    reason = ""
    unknown_words = 0
    for word in re.split(r"[ \t,]+", text.decode("ascii", "replace").lower()):
        number = _number(word)
        match word:
            case "":
                pass
            case "up":
                alive = True
            case "down" | "stopped" | "fail" | "failed":
                alive, reason = False, word
            case "ready":
                mode = Mode.READY
            case "drain":
                mode = Mode.DRAIN
            case "maint":
                mode = Mode.MAINT
            case _ if word.endswith("%") and number is not None and number <= MAX_PERCENT:
                weight_percent = number
            case _ if word.startswith("maxconn:") and number is not None and number <= MAX_CONNECTIONS:
                max_connections = number
            case _:
                unknown_words += 1
    told = "".join(c for c in description.decode("utf-8", "replace").strip() if c.isprintable())
    if alive is False and told:
        reason = f"{reason}: {told}"
    return Reply(
        alive=alive,
        mode=mode,
        weight_percent=weight_percent,
        max_connections=max_connections,
        reason="" if alive else reason,
        unknown_words=unknown_words,
    )


def _number(word: str) -> int | None:
    """The number in `75%` or `maxconn:30`."""
    match = re.fullmatch(r"([0-9]{1,9})%|maxconn:([0-9]{1,9})", word)
    return int(match[1] or match[2]) if match else None
