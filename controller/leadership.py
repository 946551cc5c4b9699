"""Whether this controller leads, from what the store answered and its own clock [H4].

    follower ── campaign won ──► leader
    follower ◄── fenced · not renewed in time · resigned ── leader

The clock must not be settable and must go on while the machine sleeps. A lease counts from when it was asked for: the
store counts from when it granted it, which is later. The leader stops at 4/5 of the lease, so that it has stopped
everything when the next one may begin, and so that clocks may differ in speed. A leader that is stopped as a whole
process cannot stop itself in time: it stops when it wakes up, and what it still writes until then carries an epoch that
is over, which store and switches refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.store.base import Campaign, Leader

_NS_PER_S = 1_000_000_000
_RENEWALS = 5  # in a lease; the leader stops when the fourth has not succeeded either


class Role(StrEnum):
    """What a controller is."""

    FOLLOWER = "follower"
    LEADER = "leader"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChange:
    """A step between roles, or to another leader to follow, and why."""

    role: Role
    epoch: int
    reason: str


class Candidate:
    """One controller's part in the lead."""

    def __init__(self, *, lease_s: int) -> None:
        """`lease_s` is what each campaign and renewal asks the store for."""
        self.leader: Leader | None = None
        self.epoch = 0
        self._lease_ns = lease_s * _NS_PER_S
        self._asked_ns = 0

    @property
    def role(self) -> Role:
        """What this controller takes itself for."""
        return Role.LEADER if self.epoch else Role.FOLLOWER

    @property
    def interval_ns(self) -> int:
        """How often to renew, and how often a follower asks for the lead."""
        return self._lease_ns // _RENEWALS

    @property
    def end_ns(self) -> int:
        """When to have stopped leading if no renewal succeeds."""
        return self._asked_ns + self.interval_ns * (_RENEWALS - 1)

    def may_lead(self, now_ns: int) -> bool:
        """Whether this controller may act as leader now."""
        return bool(self.epoch) and now_ns < self.end_ns

    def campaigned(self, campaign: Campaign, asked_ns: int, now_ns: int) -> RoleChange | None:
        """The store has answered a campaign that was asked for at `asked_ns`."""
        known, self.leader = self.leader, campaign.leader
        if not campaign.is_won:
            if campaign.leader == known:
                return None
            return RoleChange(role=Role.FOLLOWER, epoch=campaign.leader.epoch, reason=f"{campaign.leader.name} leads")
        self.epoch, self._asked_ns = campaign.leader.epoch, asked_ns
        if not self.may_lead(now_ns):
            return self.ended("the store's answer came too late")
        return RoleChange(role=Role.LEADER, epoch=self.epoch, reason="nobody led")

    def renewed(self, asked_ns: int) -> None:
        """The store has renewed the lease, as asked for at `asked_ns`."""
        self._asked_ns = asked_ns

    def ended(self, reason: str) -> RoleChange:
        """This controller leads no more."""
        change = RoleChange(role=Role.FOLLOWER, epoch=self.epoch, reason=reason)
        self.epoch, self.leader = 0, None
        return change

    def unreachable(self) -> None:
        """A follower's store does not answer: who leads is not known."""
        self.leader = None
