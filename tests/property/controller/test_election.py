"""Whatever happens: one holder at most, no move without a cause, the same history gives the same decisions."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from controller.election import Election, Step
from pentaflow.config import Configuration
from support.configurations import redundant_document

VIP = IPv4Address("10.0.0.100")
SWITCHES = ("s1", "s2")


class Happening(NamedTuple):
    what: str
    switch: str
    pause_ns: int


happenings = st.lists(
    st.builds(
        Happening,
        st.sampled_from(["ready", "lost", "path works", "path fails", "written", "nothing"]),
        st.sampled_from(SWITCHES),
        st.sampled_from([0, 20_000_000, 400_000_000, 4_000_000_000]),
    ),
    max_size=40,
)


def election(*, preempt: bool) -> Election:
    document = redundant_document() | {"controller": {"election": {"preempt": preempt}}}
    return Election(Configuration.model_validate(document))


def tell(subject: Election, happening: Happening, now_ns: int) -> list[Step]:
    match happening.what:
        case "ready":
            subject.ready(happening.switch, now_ns)
        case "lost":
            subject.lost(happening.switch, now_ns)
        case "path works" | "path fails":
            subject.path(happening.switch, works=happening.what == "path works", now_ns=now_ns)
        case "written":
            return subject.written(happening.switch, VIP, now_ns)
    return []


@given(happenings, st.booleans())
def test_one_switch_at_most_holds_a_vip_and_only_healthy_ones_get_it(history: list[Happening], preempt: bool) -> None:
    first, second = election(preempt=preempt), election(preempt=preempt)
    ready, path_works = dict.fromkeys(SWITCHES, False), dict.fromkeys(SWITCHES, True)
    now_ns = 0
    for happening in history:
        now_ns += happening.pause_ns
        assert tell(first, happening, now_ns) == tell(second, happening, now_ns)
        if happening.what in ("ready", "lost"):
            ready[happening.switch] = happening.what == "ready"
        elif happening.what.startswith("path"):
            path_works[happening.switch] = happening.what == "path works"
        before = first.active(VIP)
        decided = first.decide(now_ns)
        assert decided == second.decide(now_ns)
        assert first.announcements(now_ns) == second.announcements(now_ns)
        assert sum(VIP in first.held_by(switch) for switch in SWITCHES) <= 1
        healthy = [switch for switch in SWITCHES if ready[switch] and path_works[switch]]
        for transition in decided[0]:
            assert transition.before == before
            assert transition.after in healthy
            assert before not in healthy or (preempt and transition.after == "s1")
        assert first.decide(now_ns) == ([], [])
