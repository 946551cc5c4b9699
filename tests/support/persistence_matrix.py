"""What persistence promises, case by case: the table in docs/persistence.md, and what a test holds real nodes to.

`PYTHONPATH=.:tests python -m support.persistence_matrix` writes the table anew; a unit test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

from tlsnodes.persistence.affinity import ChosenBy

DOCUMENT = Path(__file__).parents[2] / "docs/persistence.md"
_BEGIN, _END = "<!-- the matrix: begin -->\n", "<!-- the matrix: end -->\n"


class Method(StrEnum):
    """How the client identifies itself."""

    COOKIE = "cookie"
    SESSION_ID = "session id of its application"
    TICKET_1_2 = "ticket, TLS 1.2"
    TICKET_1_3 = "ticket, TLS 1.3"
    SESSION_ID_1_2 = "session id, TLS 1.2"

    @property
    def is_tls(self) -> bool:
        """Whether it is by resuming a TLS session."""
        return self not in (Method.COOKIE, Method.SESSION_ID)

    @property
    def keys(self) -> Sequence[Keys | None]:
        """What may have become of the key of what it shows."""
        match self:
            case Method.COOKIE | Method.SESSION_ID:
                return (None,)
            case Method.TICKET_1_2 | Method.TICKET_1_3:
                return tuple(Keys)
            case Method.SESSION_ID_1_2:  # its key is the vserver's secret
                return (Keys.CURRENT, Keys.GONE)


class Landing(StrEnum):
    """Where it comes back to."""

    HERE = "the same worker"
    OTHER_WORKER = "another worker of the node"
    OTHER_NODE = "another node"


class Server(StrEnum):
    """What became of its server since."""

    UP = "up"
    DRAINING = "draining"
    GONE = "gone"


class Keys(StrEnum):
    """What became of the key of its ticket or session id."""

    CURRENT = "current"
    RETIRING = "retiring"
    GONE = "gone"


class Asked(StrEnum):
    """What it asks for now."""

    SAME = "the same"
    OTHER_NAME = "another name (SNI)"
    OTHER_VSERVER = "another vserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to come back; `keys` is None where there are none."""

    method: Method
    server: Server
    keys: Keys | None
    asked: Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What comes of it.

    Attributes:
        resumed: whether the TLS session is.
        own: whether the client reaches its server; otherwise any that is up.
        by: why it reaches the one that it does.
    """

    resumed: bool
    own: bool
    by: ChosenBy


def cases() -> list[Case]:
    """All of them; each is tried from every landing."""
    found = []
    for method, asked in product(Method, Asked):
        if not method.is_tls and asked is Asked.OTHER_NAME:
            continue  # a browser's cookies go by name already, and an application's ids are its own under any
        for keys, server in product(method.keys, Server):
            found.append(Case(method=method, server=server, keys=keys, asked=asked))
    return found


def expected(case: Case) -> Outcome:
    """What must come of a case, wherever the client lands."""
    is_accepted = case.asked is Asked.SAME and case.keys is not Keys.GONE
    own = is_accepted and case.server is not Server.GONE
    by = ChosenBy.POLICY
    if own:
        by = {Method.COOKIE: ChosenBy.COOKIE, Method.SESSION_ID: ChosenBy.SESSION_ID}.get(case.method, ChosenBy.TICKET)
    # Resuming brings a new ticket, but no new id: without its server the client needs another session.
    can_resume = case.method.is_tls and (own or case.method is not Method.SESSION_ID_1_2)
    return Outcome(resumed=is_accepted and can_resume, own=own, by=by)


def table() -> str:
    """The table of docs/persistence.md."""
    lines = [
        "| the client has a | asks for | the key is | its server is up | draining | gone |",
        "|---|---|---|---|---|---|",
    ]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for case in cases():
        rows.setdefault((case.method, case.asked, case.keys or ""), []).append(_cell(case))
    lines += [f"| {' | '.join((*key, *cells))} |" for key, cells in rows.items()]
    return "".join(f"{line}\n" for line in lines)


def _cell(case: Case) -> str:
    outcome = expected(case)
    server = "its server" if outcome.own else "one by policy"
    if not case.method.is_tls:
        return server
    return f"resumed, {server}" if outcome.resumed else f"full handshake, {server}"


def parts() -> tuple[str, str, str]:
    """The page: before the table, the table, after it."""
    before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    found, _, after = rest.partition(_END)
    return before + _BEGIN, found, _END + after


if __name__ == "__main__":
    before, _, after = parts()
    DOCUMENT.write_text(before + table() + after)
