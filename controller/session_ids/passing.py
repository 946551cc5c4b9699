"""What becomes of an allocation as leases are granted, servers report, and time passes [P6]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.session_ids.allocation import (
    CLOCK_MARGIN_S,
    Allocation,
    Grant,
    Piece,
    Stage,
    Staying,
    tidy,
)
from pentaflow.session_id_settings import SessionIds
from pentaflow.session_ids import GroupReport, KeyRange, SessionIdReport, key_of, read_group


def grant(allocation: Allocation, server: int, settings: SessionIds, now_s: float) -> Allocation:
    """Let a server that may issue do so for another lease, once half of its lease is over.

    What this returns must be kept before the server gets its record.
    """
    if not any(server in members for members in allocation.members.values()):
        return allocation
    before = allocation.grants.get(server)
    until_s = int(now_s) + settings.lease_s
    last_expiry_s = until_s + settings.lifetime_s + CLOCK_MARGIN_S
    if before is not None:
        # Ids lasted longer, or less long, when the lease was given.
        is_fresh = before.issue_until_s - now_s > settings.lease_s / 2 and before.issue_until_s <= until_s
        if is_fresh and before.last_expiry_s >= before.issue_until_s + settings.lifetime_s + CLOCK_MARGIN_S:
            return allocation
        last_expiry_s = max(before.last_expiry_s, last_expiry_s)
    others = {s: g for s, g in allocation.grants.items() if g.last_expiry_s >= now_s}
    granted = Grant(issue_until_s=until_s, last_expiry_s=last_expiry_s)
    return replace(allocation, grants={**others, server: granted})


def take_report(
    allocation: Allocation, server: int, report: SessionIdReport, settings: SessionIds, now_s: float
) -> Allocation:
    """What a server says of the ids that it has made before and that are still in use.

    Of a server that obeys the order to stop it is known from then on when the last id expires. Ids that are all told,
    and not too many, become exceptions, so that nobody waits for them.
    """
    groups = [(keys, group) for group in report.groups for keys in read_group(group.keys)]
    staying = {s.session_id: s for s in allocation.staying}
    pieces = []
    for piece in allocation.pieces:
        found = [(keys, group) for keys, group in groups if keys.first <= piece.last and keys.last >= piece.first]
        ends = dict(piece.ends)
        if server in ends and report.version >= piece.since and _covers(piece, [keys for keys, _ in found]):
            in_use = _in_use(piece, server, [group for _, group in found], now_s)
            last_expiry_s = max(group.last_expiry_s for _, group in found)
            if in_use is not None and len(staying.keys() | in_use.keys()) <= settings.exceptions:
                staying |= in_use
                last_expiry_s = 0
            if last_expiry_s:
                ends[server] = min(ends[server], last_expiry_s + CLOCK_MARGIN_S)
            else:
                del ends[server]
            piece = replace(piece, ends=tuple(ends.items()))
        pieces.append(piece)
    found_staying = tuple(sorted(staying.values(), key=lambda s: s.session_id))
    changed = replace(allocation, pieces=tidy(pieces), staying=found_staying)
    is_told = found_staying != allocation.staying
    return replace(changed, version=allocation.version + 1) if is_told else changed


def advance(allocation: Allocation, now_s: float, tables_version: int) -> Allocation:
    """What the time brings: drained pieces are handed over, those that all load balancers know of are issued from.

    Args:
        allocation: what is.
        now_s: seconds since 1970.
        tables_version: the oldest version that any load balancer still goes by.
    """
    version = allocation.version + 1
    pieces = tidy(_advance(piece, allocation, version, now_s, tables_version) for piece in allocation.pieces)
    staying = tuple(s for s in allocation.staying if s.expires_s >= now_s)
    if pieces == allocation.pieces and staying == allocation.staying:
        return allocation
    return replace(allocation, version=version, pieces=pieces, staying=staying)


def _advance(piece: Piece, allocation: Allocation, version: int, now_s: float, tables_version: int) -> Piece:
    if piece.stage is Stage.DRAINING and piece.ends_s < now_s:
        if piece.heir is None:
            return Piece(first=piece.first, last=piece.last)
        return Piece(first=piece.first, last=piece.last, stage=Stage.OFFERED, holder=piece.heir, since=version)
    if piece.stage is Stage.OFFERED and piece.since <= tables_version:
        assert piece.holder is not None
        issuers = tuple(sorted(allocation.members[piece.holder]))
        return replace(piece, stage=Stage.ISSUING, since=version, issuers=issuers)
    return piece


def _covers(piece: Piece, ranges: Iterable[KeyRange]) -> bool:
    return sum(min(r.last, piece.last) - max(r.first, piece.first) + 1 for r in set(ranges)) == piece.size


def _in_use(piece: Piece, server: int, groups: Iterable[GroupReport], now_s: float) -> dict[str, Staying] | None:
    """The ids of a piece that a server has told of, but for those that have expired; None: it has not told all."""
    found = {}
    for group in groups:
        if group.in_use is None:
            return None
        for told in group.in_use:
            key = key_of(bytes.fromhex(told.session_id))
            expires_s = told.expires_s + CLOCK_MARGIN_S
            if key is not None and piece.first <= key <= piece.last and expires_s >= now_s:
                found[told.session_id] = Staying(session_id=told.session_id, server=server, expires_s=expires_s)
    return found
