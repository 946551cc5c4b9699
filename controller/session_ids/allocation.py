"""Who makes which session ids, and what servers and load balancers are told of it [P6].

The keys of a vserver's ids are cut into pieces, each at one stage:

                      ┌───────────── re-planned ─────────────┐
    SPARE ──► OFFERED ──► ISSUING ──► DRAINING ──► OFFERED (to the heir), or SPARE
              all load     re-planned   the last id has expired, is cancelled, or is an exception
              balancers know

A *holder* is a server, or the first of several that share their ids. An OFFERED piece is already the holder's in the
table, but nobody makes ids of it until every load balancer has that table. A DRAINING one stays its old holder's in the
table, so that its ids are found as long as they last.

A record is a lease: its server issues until a time that was written down before the server got it. So it is always
known when the last id of a piece can expire, even when a server is not heard of any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pentaflow.session_id_settings import SessionIds
from pentaflow.session_ids import (
    KEYS,
    KeyRange,
    SessionIdRecord,
    SessionIdTable,
    TableException,
    TableGroup,
    key_of,
    write_group,
)

CLOCK_MARGIN_S = 30
"""How far the clocks of servers may be from the controller's."""


class Stage(StrEnum):
    """What may be done with a piece."""

    SPARE = "spare"
    OFFERED = "offered"
    ISSUING = "issuing"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Neighbouring keys at one stage.

    Attributes:
        first, last: the keys, both included.
        stage: what may be done with them.
        holder: who has them; None: SPARE.
        heir: who gets them after DRAINING; None: nobody, they become spare.
        since: the version that brought it to this stage.
        issuers: servers that may have made ids of them since they were offered.
        ends: while DRAINING, server → when the last id that it has made of them can expire, seconds since 1970;
            servers without ids are absent.
    """

    first: int
    last: int
    stage: Stage = Stage.SPARE
    holder: int | None = None
    heir: int | None = None
    since: int = 0
    issuers: tuple[int, ...] = ()
    ends: tuple[tuple[int, int], ...] = ()

    @property
    def keys(self) -> KeyRange:
        """The keys."""
        return KeyRange(self.first, self.last)

    @property
    def size(self) -> int:
        """How many keys."""
        return self.last - self.first + 1

    @property
    def ends_s(self) -> int:
        """While DRAINING, when the last id can expire; 0: there is none."""
        return max((end_s for _, end_s in self.ends), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Until when a server may issue, and when the last of all ids that it can have made expires; since 1970."""

    issue_until_s: int
    last_expiry_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """An id in use that its group has left behind: it is found at `server` until `expires_s`."""

    session_id: str
    server: int
    expires_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The whole of one vserver's session ids.

    Attributes:
        version: grows whenever a table or a record changes.
        pieces: in ascending order; together they are all keys.
        members: holder → the servers that share its ids, itself first. Those of former holders stay while needed.
        grants: server → its lease.
        staying: ids that are exceptions.
    """

    version: int = 0
    pieces: tuple[Piece, ...] = (Piece(first=0, last=KEYS - 1),)
    members: Mapping[int, tuple[int, ...]]
    grants: Mapping[int, Grant]
    staying: tuple[Staying, ...] = ()

    def held(self, holder: int | None, *stages: Stage) -> int:
        """How many keys a holder has at some stages."""
        return sum(piece.size for piece in self.pieces if piece.holder == holder and piece.stage in stages)


EMPTY = Allocation(members={}, grants={})


def make_table(vserver: str, allocation: Allocation, default_server: int | None) -> SessionIdTable:
    """What load balancers are to know."""
    keys: dict[int, list[KeyRange]] = {}
    for piece in allocation.pieces:
        if piece.holder is not None:
            keys.setdefault(piece.holder, []).append(piece.keys)
    return SessionIdTable(
        vserver=vserver,
        version=allocation.version,
        groups=tuple(
            TableGroup(keys=write_group(ranges), servers=allocation.members[holder])
            for holder, ranges in sorted(keys.items())
        ),
        exceptions=tuple(TableException(session_id=s.session_id, server=s.server) for s in allocation.staying),
        default_server=default_server,
    )


def make_record(vserver: str, allocation: Allocation, server: int, settings: SessionIds) -> SessionIdRecord:
    """What a server is to know. Without a grant it may issue nothing."""
    issues, accepts, others = [], [], []
    for piece in allocation.pieces:
        is_member = piece.holder is not None and server in allocation.members[piece.holder]
        if piece.stage is Stage.ISSUING and is_member:
            issues.append(piece.keys)
        elif server in piece.issuers:
            accepts.append(piece.keys)
    for members in allocation.members.values():
        if server in members:
            others += [member for member in members if member != server]
    grant = allocation.grants.get(server)
    return SessionIdRecord(
        vserver=vserver,
        server=server,
        version=allocation.version,
        issues=write_group(issues, settings.groups),
        accepts=write_group(accepts, settings.groups),
        excluded=tuple(s.session_id for s in allocation.staying if s.server != server and _is_in(s, issues)),
        shared_with=tuple(dict.fromkeys(others)),
        lifetime_s=settings.lifetime_s,
        issue_until_s=grant.issue_until_s if grant else 0,
    )


def _is_in(staying: Staying, ranges: Iterable[KeyRange]) -> bool:
    key = key_of(bytes.fromhex(staying.session_id))
    return key is not None and any(keys.first <= key <= keys.last for keys in ranges)


def tidy(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The same in ascending order and as few pieces as possible."""
    return tuple(_tidy(sorted(pieces, key=lambda piece: piece.first)))


def _tidy(pieces: Iterable[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in pieces:
        if last is not None and last == replace(piece, first=last.first, last=last.last):
            last = replace(last, last=piece.last)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last
