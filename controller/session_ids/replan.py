"""Re-planning: from what is allocated to what is wanted, with the fewest moves [P6].

A move is a key that its holder has to stop issuing. Each holder keeps as much as it should have and gives up the rest;
no plan can do with less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from controller.session_ids.allocation import Allocation, Piece, Stage, tidy
from controller.session_ids.shares import Wanted

# What a holder keeps first: what it issues; then what waits for load balancers; then it takes back what drains.
_KEPT_FIRST = (Stage.ISSUING, Stage.OFFERED, Stage.DRAINING)


def replan(allocation: Allocation, wanted: Wanted) -> Allocation:
    """What is to be done at once; the rest follows as ids expire (`controller.session_ids.passing`).

    The same allocation if nothing is to be done.
    """
    version = allocation.version + 1
    renamed = _successors(allocation, wanted)
    pieces = [
        replace(piece, holder=renamed.get(piece.holder, piece.holder)) if piece.holder is not None else piece
        for piece in allocation.pieces
    ]
    kept: list[Piece] = []
    free: list[Piece] = []  # at once
    leaving: list[Piece] = []  # when the last id is gone
    lacking: Counter[int] = Counter()
    for holder in sorted(wanted.sizes.keys() | {piece.holder for piece in pieces if piece.holder is not None}):
        size = wanted.sizes.get(holder, 0)
        for stage in _KEPT_FIRST:
            stays, goes = _take([p for p in pieces if p.holder == holder and p.stage is stage], size)
            size -= sum(piece.size for piece in stays)
            if stage is Stage.DRAINING:
                kept += [replace(piece, stage=Stage.ISSUING, heir=None, since=version, ends=()) for piece in stays]
                leaving += goes
            else:
                kept += stays
                if stage is Stage.OFFERED:
                    free += goes
                else:
                    leaving += [_stopped(piece, allocation, version) for piece in goes]
        lacking[holder] = size
    free += [piece for piece in pieces if piece.stage is Stage.SPARE]
    given, spare = _give(free, lacking, keep=wanted.spare)
    done = (
        *kept,
        *(Piece(first=p.first, last=p.last, stage=Stage.OFFERED, holder=p.heir, since=version) for p in given),
        *(Piece(first=p.first, last=p.last) for p in spare),
        *_bequeath(leaving, lacking),
    )
    former = {holder: members for holder, members in allocation.members.items() if holder not in renamed}
    members = _needed(former | dict(wanted.members), wanted, done)
    issued = tuple(_with_issuers(piece, members) for piece in done)
    found = replace(allocation, version=version, pieces=tidy(issued), members=members)
    return allocation if replace(found, version=allocation.version) == allocation else found


def _successors(allocation: Allocation, wanted: Wanted) -> dict[int, int]:
    """Holder that is none any more → another one of those that shared its ids, who goes on."""
    found: dict[int, int] = {}
    for holder, members in allocation.members.items():
        heirs = [member for member in members if member in wanted.members and member not in allocation.members]
        if holder not in wanted.members and heirs:
            found[holder] = heirs[0]
    return found


def _stopped(piece: Piece, allocation: Allocation, version: int) -> Piece:
    ends = tuple(
        (server, allocation.grants[server].last_expiry_s) for server in piece.issuers if server in allocation.grants
    )
    return replace(piece, stage=Stage.DRAINING, since=version, ends=ends)


def _give(free: Iterable[Piece], lacking: Counter[int], *, keep: int) -> tuple[list[Piece], list[Piece]]:
    """Pieces for those who lack them, and those that nobody gets: at least `keep` keys, if there are so many."""
    left = list(free)
    given = []
    surplus = max(0, sum(piece.size for piece in left) - keep)
    for holder in _by_need(lacking):
        taken, left = _take(left, min(lacking[holder], surplus))
        given += [replace(piece, heir=holder) for piece in taken]
        size = sum(piece.size for piece in taken)
        lacking[holder] -= size
        surplus -= size
    return given, left


def _bequeath(leaving: Iterable[Piece], lacking: Counter[int]) -> list[Piece]:
    """The same pieces, each with its heir: the one that it has, if that still lacks keys."""
    done: list[Piece] = []
    left = list(leaving)
    for heir in sorted({piece.heir for piece in left if piece.heir is not None}):
        stays, goes = _take([piece for piece in left if piece.heir == heir], lacking[heir])
        lacking[heir] -= sum(piece.size for piece in stays)
        left = [*(piece for piece in left if piece.heir != heir), *goes]
        done += stays
    for heir in _by_need(lacking):
        taken, left = _take(left, lacking[heir])
        done += [replace(piece, heir=heir) for piece in taken]
    return done + [replace(piece, heir=None) for piece in left]


def _by_need(lacking: Mapping[int, int]) -> list[int]:
    return sorted((holder for holder, size in lacking.items() if size > 0), key=lambda h: (-lacking[h], h))


def _take(pieces: Iterable[Piece], size: int) -> tuple[list[Piece], list[Piece]]:
    """So many keys, or all if there are not as many, of the largest pieces; and the rest. One piece is cut at most."""
    taken: list[Piece] = []
    left: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.first)):
        if piece.size <= size:
            taken.append(piece)
        elif size > 0:
            taken.append(replace(piece, last=piece.first + size - 1))
            left.append(replace(piece, first=piece.first + size))
        else:
            left.append(piece)
        size = max(0, size - piece.size)
    return taken, left


def _needed(
    members: Mapping[int, tuple[int, ...]], wanted: Wanted, pieces: Iterable[Piece]
) -> dict[int, tuple[int, ...]]:
    used = {piece.holder for piece in pieces} | wanted.members.keys()
    return {holder: members[holder] for holder in sorted(members) if holder in used}


def _with_issuers(piece: Piece, members: Mapping[int, tuple[int, ...]]) -> Piece:
    """Whoever shares an issuing piece now may issue from it, too."""
    if piece.stage is not Stage.ISSUING or piece.holder is None:
        return piece
    return replace(piece, issuers=tuple(sorted({*piece.issuers, *members[piece.holder]})))
