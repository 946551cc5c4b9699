"""Which switch is the active scheduler of each VIP [H3]: pure, from what is known of the switches and the time.

Of a VIP's candidates the healthy one of the highest priority is chosen, ties in the order of the configuration. A
switch is healthy when its session is ready and its data path works (`controller.views`). Who is active stays active
while it is healthy, unless `preempt` is on, one of a higher priority has been healthy for `hold_s`, and no bucket of
the VIP is split.

A move has three steps. The old switch is *fenced*: the VIP's entries are deleted there first, if it can be reached.
Then the new one *holds* the VIP: its entries are written. Then it is *announced* to the LAN, several times. An old
switch that cannot be reached stays *unfenced*: it may still answer and forward, so the announcements go on until it is
read back, and reading back deletes the entries before anything else.

Nothing moves without a cause: while no candidate is healthy the last decision stands, and when the first comes back the
others have `hold_s` to do so, too. A switch that is found holding a VIP when the controller starts goes on holding it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from pentaflow.addresses import IpAddress
from pentaflow.config import Configuration

FENCE_TIMEOUT_NS = 300_000_000
# When a VIP that has moved is announced, after its entries were written; a lost frame must not cost the VIP.
ANNOUNCEMENT_DELAYS_NS = (0, 50_000_000, 200_000_000, 1_000_000_000, 3_000_000_000)
UNFENCED_INTERVAL_NS = 500_000_000
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The active switch of a VIP has changed; `before` is empty when there was none."""

    vip: IpAddress
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The entries of a VIP that a switch holds, or holds no more, have to be written."""

    vip: IpAddress
    switch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a VIP stands: its active switch (empty: none yet), since when, and who could not be fenced."""

    vip: IpAddress
    active: str
    since_ns: int
    reason: str
    unfenced: tuple[str, ...]


@dataclass(slots=True)
class _Candidate:
    is_ready: bool = False
    path_works: bool = True
    healthy_since_ns: int = 0

    @property
    def is_healthy(self) -> bool:
        return self.is_ready and self.path_works


@dataclass(slots=True)
class _Vip:
    candidates: tuple[str, ...]
    active: str = ""
    since_ns: int = 0
    reason: str = "not decided yet"
    vacant_reason: str = "first decision"
    fencing: str = ""
    fence_deadline_ns: int = 0
    unfenced: set[str] = field(default_factory=set)
    announcements_ns: list[int] = field(default_factory=list)
    # No candidate was healthy before; from when on the others may come back.
    all_lost: bool = True
    returning_since_ns: int | None = None


class Election:
    """The active switch of every VIP, and the steps that make it so."""

    def __init__(self, configuration: Configuration) -> None:
        self._switches: dict[str, _Candidate] = {}
        self._vips: dict[IpAddress, _Vip] = {}
        self.reconfigure(configuration, 0)

    def reconfigure(self, configuration: Configuration, now_ns: int) -> list[Step]:
        """Other switches, VIPs or rules: a VIP whose active switch is no candidate any more is given up there first.

        Such a switch is known until it is fenced, though it be no longer configured.
        """
        election = configuration.controller.election
        self._preempt = election.preempt
        self._hold_ns = int(election.hold_s * _NS_PER_S)
        self._priorities = {switch.name: switch.priority for switch in configuration.switches}
        known = self._switches
        self._switches = {name: known.get(name) or _Candidate() for name in self._priorities}
        ranked = sorted(self._priorities, key=lambda name: -self._priorities[name])
        allowed: dict[IpAddress, Set[str]] = {
            vserver.vip: set(vserver.schedulers or ranked) for vserver in configuration.vservers
        }
        before, self._vips = self._vips, {}
        steps = []
        for vip, names in allowed.items():
            candidates = tuple(name for name in ranked if name in names)
            place = self._vips[vip] = before.get(vip) or _Vip(candidates)
            place.candidates = candidates
            place.unfenced &= set(self._priorities)
            if place.fencing not in self._priorities:
                place.fencing = ""
            if place.active and place.active not in candidates:
                left, place.active = place.active, ""
                place.vacant_reason = f"{left} is no scheduler of it any more"
                if known[left].is_ready and not place.fencing:
                    self._switches.setdefault(left, known[left])
                    place.fencing, place.fence_deadline_ns = left, now_ns + FENCE_TIMEOUT_NS
                    steps.append(Step(vip=vip, switch=left))
                elif left in self._priorities:
                    place.unfenced.add(left)
        return steps

    # What is asked.

    def held_by(self, switch: str) -> frozenset[IpAddress]:
        """The VIPs whose entries a switch should have; never the same on two switches."""
        return frozenset(vip for vip, place in self._vips.items() if place.active == switch and not place.fencing)

    def active(self, vip: IpAddress) -> str:
        """The switch that has the VIP, or is about to; empty: none yet."""
        return self._vips[vip].active

    def is_active(self, switch: str) -> bool:
        """Whether a switch is active for any VIP."""
        return any(place.active == switch for place in self._vips.values())

    def has_rested(self, switch: str, vip: IpAddress, duration_ns: int, now_ns: int) -> bool:
        """Whether a switch has been active for a VIP for so long [B8]."""
        place = self._vips[vip]
        return place.active == switch and now_ns - place.since_ns >= duration_ns

    def standings(self) -> list[Standing]:
        """How every VIP stands."""
        return [
            Standing(
                vip=vip,
                active=place.active,
                since_ns=place.since_ns,
                reason=place.reason,
                unfenced=tuple(sorted(place.unfenced)),
            )
            for vip, place in self._vips.items()
        ]

    # What is observed.

    def found(self, switch: str, vips: Iterable[IpAddress], now_ns: int) -> list[Transition]:
        """A switch was read back and holds these VIPs: those that nobody is active for yet are its own."""
        found = []
        for vip in vips:
            place = self._vips.get(vip)
            if place and not place.active and switch in place.candidates:
                found.append(self._move(vip, place, switch, "it held the VIP already", now_ns))
        return found

    def ready(self, switch: str, now_ns: int) -> None:
        """A switch has everything that it should have, and nothing else: it is fenced where it is not active."""
        self._observe(switch, is_ready=True, now_ns=now_ns)
        for place in self._vips.values():
            if place.fencing == switch:
                place.fence_deadline_ns = now_ns
            place.unfenced.discard(switch)
            if place.active == switch and not place.fencing:
                self._announce(place, now_ns)

    def lost(self, switch: str, now_ns: int) -> None:
        """A switch cannot be reached; it may go on forwarding."""
        self._observe(switch, is_ready=False, now_ns=now_ns)

    def path(self, switch: str, *, works: bool, now_ns: int) -> None:
        """The data path of a switch works, or does not."""
        self._observe(switch, path_works=works, now_ns=now_ns)

    def _observe(
        self, switch: str, *, is_ready: bool | None = None, path_works: bool | None = None, now_ns: int
    ) -> None:
        candidate = self._switches[switch]
        was_healthy = candidate.is_healthy
        candidate.is_ready = candidate.is_ready if is_ready is None else is_ready
        candidate.path_works = candidate.path_works if path_works is None else path_works
        if candidate.is_healthy and not was_healthy:
            candidate.healthy_since_ns = now_ns

    def written(self, switch: str, vip: IpAddress, now_ns: int) -> list[Step]:
        """A step was carried out and acknowledged: what is next."""
        place = self._vips.get(vip)
        if place is None:
            return []
        if place.fencing == switch:
            place.fencing = ""
            return [Step(vip=vip, switch=place.active)] if place.active else []
        if place.active == switch:
            self._announce(place, now_ns)
        else:
            place.unfenced.discard(switch)
        return []

    # What is decided.

    def decide(self, now_ns: int, moving: Set[IpAddress] = frozenset()) -> tuple[list[Transition], list[Step]]:
        """What changes now; call it again before long, since time decides, too.

        Args:
            now_ns: the monotonic clock.
            moving: VIPs of which buckets are split. Connections that are new in them are known to the active switch's
                transit filter alone: no other takes such a VIP without need.
        """
        transitions, steps = [], []
        for vip, place in self._vips.items():
            if place.fencing:
                candidate = self._switches[place.fencing]
                if now_ns < place.fence_deadline_ns and candidate.is_ready:
                    continue
                if place.fencing in self._priorities:
                    place.unfenced.add(place.fencing)
                place.fencing = ""
                if place.active:
                    steps.append(Step(vip=vip, switch=place.active))
            chosen, reason = self._choose(place, now_ns, may_preempt=self._preempt and vip not in moving)
            if chosen:
                transition = self._move(vip, place, chosen, reason, now_ns)
                transitions.append(transition)
                steps.append(Step(vip=vip, switch=place.fencing or place.active))
        return transitions, steps

    def announce(self, vips: Iterable[IpAddress], now_ns: int) -> None:
        """VIPs that were withdrawn are there again."""
        for vip in vips:
            if self._vips[vip].active:
                self._announce(self._vips[vip], now_ns)

    def announcements(self, now_ns: int) -> list[Step]:
        """The VIPs to announce now, and the switches to do it through."""
        due = []
        for vip, place in self._vips.items():
            if place.fencing or not place.announcements_ns or place.announcements_ns[0] > now_ns:
                continue
            place.announcements_ns = [at_ns for at_ns in place.announcements_ns if at_ns > now_ns]
            if place.unfenced and not place.announcements_ns:
                place.announcements_ns.append(now_ns + UNFENCED_INTERVAL_NS)
            if self._switches[place.active].is_ready:
                due.append(Step(vip=vip, switch=place.active))
        return due

    def _choose(self, place: _Vip, now_ns: int, *, may_preempt: bool) -> tuple[str, str]:
        """The switch to move to, and why; empty: stay."""
        healthy = [name for name in place.candidates if self._switches[name].is_healthy]
        if not healthy:
            place.all_lost, place.returning_since_ns = True, None
            return "", ""
        if place.active in healthy:
            place.all_lost, place.returning_since_ns = False, None
            best = healthy[0]
            is_higher = self._priorities[best] > self._priorities[place.active]
            if may_preempt and is_higher and self._is_steady(best, now_ns):
                return best, f"{best} has the higher priority"
            return "", ""
        if place.all_lost and len(healthy) < len(place.candidates):
            if place.returning_since_ns is None:
                place.returning_since_ns = now_ns
            if now_ns - place.returning_since_ns < self._hold_ns:
                return "", ""
        place.all_lost, place.returning_since_ns = False, None
        chosen = next((name for name in healthy if self._is_steady(name, now_ns)), healthy[0])
        if not place.active:
            return healthy[0], place.vacant_reason
        what = "its data path fails" if self._switches[place.active].is_ready else "its session is lost"
        return chosen, f"{place.active} is not healthy: {what}"

    def _is_steady(self, switch: str, now_ns: int) -> bool:
        return now_ns - self._switches[switch].healthy_since_ns >= self._hold_ns

    def _move(self, vip: IpAddress, place: _Vip, after: str, reason: str, now_ns: int) -> Transition:
        before, place.active, place.since_ns, place.reason = place.active, after, now_ns, reason
        place.announcements_ns = []
        place.unfenced.discard(after)
        if before:
            if self._switches[before].is_ready:
                place.fencing, place.fence_deadline_ns = before, now_ns + FENCE_TIMEOUT_NS
            else:
                place.unfenced.add(before)
        return Transition(vip=vip, before=before, after=after, reason=reason)

    @staticmethod
    def _announce(place: _Vip, now_ns: int) -> None:
        place.announcements_ns = [now_ns + delay_ns for delay_ns in ANNOUNCEMENT_DELAYS_NS]
