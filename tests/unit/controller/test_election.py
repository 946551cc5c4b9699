"""Election of the active switch: each case is a history and its outcome."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from controller.election import ANNOUNCEMENT_DELAYS_NS, FENCE_TIMEOUT_NS, Election, Step
from pentaflow.config import Configuration
from support.configurations import redundant_document

S = 1_000_000_000
VIP = IPv4Address("10.0.0.100")


class World:
    """An election of s1 (priority 200) and s2 (100), with a clock that is moved by hand."""

    def __init__(self, **election: Any) -> None:
        document = redundant_document() | {"controller": {"election": {"hold_s": 3} | election}}
        self.election = Election(Configuration.model_validate(document))
        self.now_ns = 0

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns

    def decide(self, *moving: IPv4Address) -> list[tuple[str, str]]:
        transitions, self.steps = self.election.decide(self.now_ns, frozenset(moving))
        return [(t.before, t.after) for t in transitions]

    def ready(self, *switches: str) -> None:
        for switch in switches:
            self.election.ready(switch, self.now_ns)

    def lost(self, *switches: str) -> None:
        for switch in switches:
            self.election.lost(switch, self.now_ns)

    def written(self, switch: str) -> list[Step]:
        return self.election.written(switch, VIP, self.now_ns)

    @property
    def holders(self) -> list[str]:
        return [switch for switch in ("s1", "s2") if VIP in self.election.held_by(switch)]

    @property
    def unfenced(self) -> tuple[str, ...]:
        return self.election.standings()[0].unfenced


def started(**election: Any) -> World:
    world = World(**election)
    world.ready("s1", "s2")
    assert world.decide() == [("", "s1")]
    world.written("s1")
    world.wait(10 * S)
    world.election.announcements(world.now_ns)
    return world


def test_the_highest_priority_is_active_and_nothing_moves_after_that() -> None:
    world = started()
    assert world.holders == ["s1"]
    for _ in range(10):
        world.wait(S)
        assert world.decide() == []


def test_a_switch_that_is_late_at_the_start_is_waited_for_and_then_not() -> None:
    world = World()
    world.ready("s2")
    assert world.decide() == []
    world.wait(3 * S)
    assert world.decide() == [("", "s2")]


def test_a_switch_that_holds_the_vip_at_the_start_keeps_it() -> None:
    world = World(preempt=False)
    assert [t.after for t in world.election.found("s2", [VIP], 0)] == ["s2"]
    assert world.election.found("s1", [VIP], 0) == []
    world.ready("s1", "s2")
    assert world.decide() == []
    assert world.holders == ["s2"]


def test_a_lost_switch_is_replaced_at_once_and_counts_as_unfenced_until_it_is_read_back() -> None:
    world = started(preempt=False)
    world.lost("s1")
    assert world.decide() == [("s1", "s2")]
    assert world.steps == [Step(vip=VIP, switch="s2")]
    assert (world.holders, world.unfenced) == (["s2"], ("s1",))
    world.written("s2")
    for delay_ns in ANNOUNCEMENT_DELAYS_NS:
        assert world.election.announcements(world.now_ns + delay_ns) == [Step(vip=VIP, switch="s2")]
    world.wait(60 * S)
    assert world.election.announcements(world.now_ns), "it goes on as long as the old one may answer"
    world.ready("s1")
    assert world.unfenced == ()
    world.wait(60 * S)
    assert world.decide() == []
    world.election.announcements(world.now_ns)
    assert not world.election.announcements(world.now_ns + 60 * S)


def test_with_preemption_the_higher_one_takes_back_when_it_has_been_well_for_a_while() -> None:
    world = started()
    world.lost("s1")
    world.decide()
    world.written("s2")
    world.ready("s1")
    world.wait(3 * S - 1)
    assert world.decide() == []
    world.wait(1)
    assert world.decide() == [("s2", "s1")]
    assert world.holders == [], "the old one is fenced first"
    assert world.steps == [Step(vip=VIP, switch="s2")]
    assert world.written("s2") == [Step(vip=VIP, switch="s1")]
    assert (world.holders, world.unfenced) == (["s1"], ())


def test_a_vip_whose_buckets_are_split_is_taken_back_when_they_are_whole_again() -> None:
    world = started()
    world.lost("s1")
    assert world.decide(VIP) == [("s1", "s2")], "it must move"
    world.written("s2")
    world.ready("s1")
    world.wait(60 * S)
    assert world.decide(VIP) == []
    assert world.decide(IPv4Address("10.0.0.101")) == [("s2", "s1")], "another VIP's buckets"


def test_flapping_of_the_higher_one_moves_nothing() -> None:
    world = started()
    world.lost("s1")
    world.decide()
    world.written("s2")
    for _ in range(20):
        world.ready("s1")
        world.wait(2 * S)
        assert world.decide() == []
        world.lost("s1")
        world.wait(S)
        assert world.decide() == []


def test_one_whose_path_fails_is_fenced_first_but_not_waited_for_for_ever() -> None:
    world = started()
    world.election.path("s1", works=False, now_ns=world.now_ns)
    assert world.decide() == [("s1", "s2")]
    assert world.steps == [Step(vip=VIP, switch="s1")]
    assert world.decide() == []
    world.wait(FENCE_TIMEOUT_NS)
    assert world.decide() == []
    assert world.steps == [Step(vip=VIP, switch="s2")]
    assert (world.holders, world.unfenced) == (["s2"], ("s1",))
    assert world.written("s1") == [], "the fence came late"
    assert world.unfenced == ()


def test_when_all_are_lost_the_decision_stands_and_the_active_one_may_come_back_last() -> None:
    world = started()
    world.lost("s1", "s2")
    world.wait(60 * S)
    assert world.decide() == []
    assert world.holders == ["s1"]
    world.ready("s2")
    assert world.decide() == []
    world.wait(2 * S)
    world.ready("s1")
    assert world.decide() == []
    assert world.holders == ["s1"]


def test_when_all_were_lost_and_the_active_one_stays_away_another_takes_over() -> None:
    world = started()
    world.lost("s1", "s2")
    world.decide()
    world.ready("s2")
    assert world.decide() == []
    world.wait(3 * S)
    assert world.decide() == [("s1", "s2")]


def test_a_take_over_counts_as_an_access_to_every_bucket() -> None:
    world = started()
    assert world.election.has_rested("s1", VIP, 10 * S, world.now_ns)
    assert not world.election.has_rested("s2", VIP, 0, world.now_ns)
    world.lost("s1")
    world.decide()
    assert not world.election.has_rested("s2", VIP, 10 * S, world.now_ns + 9 * S)
    assert world.election.has_rested("s2", VIP, 10 * S, world.now_ns + 10 * S)


def test_equal_priorities_go_by_the_order_of_the_file_and_do_not_preempt() -> None:
    document = redundant_document()
    for switch in document["switches"]:
        switch["priority"] = 7
    election = Election(Configuration.model_validate(document))
    election.ready("s2", 0)
    election.ready("s1", 0)
    assert [t.after for t in election.decide(0)[0]] == ["s1"]
    election.lost("s1", S)
    election.decide(S)
    election.ready("s1", 2 * S)
    assert election.decide(60 * S)[0] == []


def test_a_vserver_names_the_schedulers_that_may_have_its_vip() -> None:
    document = redundant_document()
    document["vservers"][0]["schedulers"] = ["s2"]
    election = Election(Configuration.model_validate(document))
    election.ready("s1", 0)
    assert election.decide(60 * S)[0] == []
    election.ready("s2", 60 * S)
    assert [t.after for t in election.decide(60 * S)[0]] == ["s2"]


def without(switch: str) -> Configuration:
    document = redundant_document()
    document["switches"] = [found for found in document["switches"] if found["name"] != switch]
    for node in document["nodes"]:
        del node["ports"][switch]
    return Configuration.model_validate(document)


def test_a_switch_that_is_no_longer_configured_is_fenced_before_another_takes_over() -> None:
    world = started()
    assert world.election.reconfigure(without("s1"), world.now_ns) == [Step(vip=VIP, switch="s1")]
    assert (world.decide(), world.steps, world.holders) == ([], [], [])
    assert world.written("s1") == []
    assert world.decide() == [("", "s2")]
    assert world.steps == [Step(vip=VIP, switch="s2")]
    assert world.election.standings()[0].reason == "s1 is no scheduler of it any more"
    world.written("s2")
    assert world.election.announcements(world.now_ns) == [Step(vip=VIP, switch="s2")]


def test_one_that_does_not_answer_is_not_waited_for() -> None:
    world = started()
    world.election.reconfigure(without("s1"), world.now_ns)
    world.wait(FENCE_TIMEOUT_NS)
    assert world.decide() == [("", "s2")]
    assert world.unfenced == (), "nobody will ever read it back"
    world = started()
    world.lost("s1")
    assert world.election.reconfigure(without("s1"), world.now_ns) == []
    assert world.decide() == [("", "s2")]


def test_a_switch_that_may_not_schedule_a_vip_any_more_gives_it_up_first() -> None:
    world = started()
    document = redundant_document()
    document["vservers"][0]["schedulers"] = ["s2"]
    assert world.election.reconfigure(Configuration.model_validate(document), world.now_ns) == [
        Step(vip=VIP, switch="s1")
    ]
    world.wait(FENCE_TIMEOUT_NS)
    assert world.decide() == [("", "s2")]
    assert "s1" in world.unfenced, "it may answer still, and will be read back"
    world.ready("s1")
    assert "s1" not in world.unfenced


def test_a_vip_that_is_given_back_is_announced_by_who_is_active() -> None:
    world = World()
    world.election.announce([VIP], 0)
    assert world.election.announcements(0) == []
    world = started()
    world.election.announce([VIP], world.now_ns)
    assert world.election.announcements(world.now_ns) == [Step(vip=VIP, switch="s1")]
