"""The steps of a bucket from one node to another."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from controller.buckets import UNASSIGNED, BucketMap, Reason
from controller.moves import Forced, MoveLimits, Moves, Step, VserverTraits
from controller.planner import make_plan, plan_failover
from support.moving import SLOTS_PER_NODE, VSERVER_ID, Answers, S, spread_map, view

BUCKETS = 8
PATIENCE_NS = 1000 * S
LIMITS = MoveLimits(flows=100.0, split=3, idle_split=2)


@dataclass
class World:
    """Two nodes with four buckets each, of which the first is drained."""

    map: BucketMap = field(default_factory=lambda: spread_map(BUCKETS, 2))
    answers: Answers = field(default_factory=Answers)
    now_ns: int = 100 * S
    lost: set[int] = field(default_factory=set)
    new_per_s: float = 0.0
    moves: Moves = field(
        default_factory=lambda: Moves(
            LIMITS, {VSERVER_ID: VserverTraits(BUCKETS, 60)}, slots_per_node=SLOTS_PER_NODE, patience_ns=PATIENCE_NS
        )
    )

    def drain(self, deadline_ns: int | None = None) -> None:
        plan = make_plan(self.map, {1: 0, 2: 1}, Reason.DRAIN)
        self.moves.follow(plan, {1: deadline_ns}, self.now_ns)

    def step(self, seconds: float = 1) -> Step:
        self.now_ns += int(seconds * S)
        step = self.moves.step(view(self.map, self.answers, self.now_ns, lost=self.lost, new_per_s=self.new_per_s))
        self.map.apply(step.moves)
        return step

    def answer(self, node_id: int = 1, **open_by_bucket: int) -> None:
        self.now_ns += S
        self.answers.answer(node_id, self.now_ns, **open_by_bucket)

    def holding(self) -> dict[int, int]:
        return dict(self.map.holding(VSERVER_ID))


@pytest.fixture
def world() -> World:
    return World()


def test_a_drain_splits_as_many_buckets_as_it_may(world: World) -> None:
    world.drain()
    step = world.step()
    assert [move.old_slot for move in step.moves] == [16, 16, 16]
    assert len(world.map.splits) == LIMITS.split
    assert world.step().moves == ()


def test_a_split_is_settled_when_the_old_node_was_quiet_for_long_enough_after_the_switch_had_it(world: World) -> None:
    world.drain()
    world.step()
    for _ in range(10):
        world.answer()
        assert not world.step().moves, "the split may not be in the switch yet"
    world.moves.written(world.now_ns)
    settled = []
    for _ in range(5):
        world.answer()
        settled += [move for move in world.step().moves if move.old_slot == UNASSIGNED]
    assert len(settled) == 3
    assert world.map.maybe_old_node(VSERVER_ID, 0) is None
    assert world.map.maybe_node(VSERVER_ID, 0) == 2


def test_a_connection_that_shows_up_late_starts_the_quiet_time_anew(world: World) -> None:
    world.drain()
    world.step()
    world.moves.written(world.now_ns)
    first = next(iter(world.map.splits))[1]
    for opened in (0, 0, 1, 0, 0):
        world.answer(**{f"b{first}": opened})
        world.step()
    assert (VSERVER_ID, first) in world.map.splits
    for _ in range(3):
        world.answer()
        world.step()
    assert (VSERVER_ID, first) not in world.map.splits


def test_buckets_that_are_idle_go_first_and_beyond_the_room_in_the_filter(world: World) -> None:
    world.new_per_s = 1e6
    world.moves.idle([(VSERVER_ID, bucket) for bucket in (4, 6)], world.now_ns)
    world.drain()
    world.answer(b4=1)
    world.step()
    begun = {bucket for _, bucket in world.map.splits}
    assert 6 in begun, "proven idle"
    assert len(begun) == 2, "and one that is not, since something must go on"


def test_an_idle_notice_alone_proves_nothing(world: World) -> None:
    world.new_per_s = 1e6
    world.answer()
    world.now_ns += S
    world.moves.idle([(VSERVER_ID, bucket) for bucket in range(BUCKETS)], world.now_ns)
    world.drain()
    assert world.step().moves == ()


def test_the_load_of_the_filter_bounds_splits(world: World) -> None:
    world.new_per_s = 2 * LIMITS.flows / 2 * BUCKETS / 60 / 2
    world.drain()
    world.step()
    assert len(world.map.splits) == 2


def test_nothing_that_is_in_use_begins_while_the_load_is_not_known(world: World) -> None:
    world.drain()
    unknown = view(world.map, world.answers, world.now_ns)._replace(loads={})
    assert world.moves.step(unknown).moves == ()


def test_at_the_deadline_the_rest_is_forced_and_counted(world: World) -> None:
    world.drain(deadline_ns=world.now_ns + 10 * S)
    world.step()
    world.moves.written(world.now_ns)
    open_by_bucket = {f"b{bucket}": 2 for bucket in range(0, BUCKETS, 2)}
    world.answer(**open_by_bucket)
    assert not world.step().forced
    step = world.step(10)
    assert step.forced == (Forced(1, 2),) * 4
    assert world.holding() == {2: BUCKETS}
    assert not world.map.splits
    world.step()
    assert world.moves.is_done
    (progress,) = world.moves.progress(view(world.map, world.answers, world.now_ns))
    assert (progress.done, progress.forced, progress.at_risk) == (4, 4, 8)


def test_what_is_not_drained_is_forced_only_when_patience_ends(world: World) -> None:
    world.moves.follow(make_plan(world.map, {1: 0, 2: 1}, Reason.WEIGHTS), {}, world.now_ns)
    world.step()
    world.moves.written(world.now_ns)
    world.answer(b0=1, b2=1, b4=1, b6=1)
    assert not world.step(PATIENCE_NS / S - 10).forced
    assert len(world.step(10).forced) == 4


def test_a_bucket_whose_old_node_is_lost_is_settled_at_once(world: World) -> None:
    world.drain()
    world.step()
    world.lost = {1}
    assert {move.to_slot for move in world.step(0).moves if move.old_slot == UNASSIGNED} <= {32, 33}
    assert not world.map.splits.keys() & {(VSERVER_ID, 0)}


def test_a_bucket_whose_new_node_is_lost_stays_split_until_its_slot_is_elsewhere(world: World) -> None:
    world.drain()
    world.step()
    world.moves.written(world.now_ns)
    world.lost = {2}
    world.answer()
    assert world.step(20).moves == ()
    world.map.apply(plan_failover(world.map, {2}, {1: 1}, SLOTS_PER_NODE))
    world.step()
    assert not world.map.splits
    assert world.holding() == {1: BUCKETS}


def test_a_new_plan_replaces_what_waits_and_finishes_what_is_split(world: World) -> None:
    world.drain()
    world.step()
    split = set(world.map.splits)
    world.moves.follow(make_plan(world.map, {1: 1, 2: 0}, Reason.DRAIN), {}, world.now_ns)
    assert set(world.map.splits) == split
    for _ in range(30):
        world.moves.written(world.now_ns)
        world.answer(1)
        world.answer(2)
        world.step()
    assert world.holding() == {1: BUCKETS}
    assert world.moves.is_done


def test_splits_that_are_found_in_the_map_are_finished(world: World) -> None:
    world.map.apply([world.map.split(VSERVER_ID, 0, 32, Reason.DRAIN)])
    world.step()
    assert not world.moves.is_done
    assert world.moves.asked(world.map) == {1: {VSERVER_ID}}
    world.moves.written(world.now_ns)
    for _ in range(5):
        world.answer()
        world.step()
    assert not world.map.splits
    world.step()
    assert world.moves.is_done


def test_progress_adds_up_and_waves_end(world: World) -> None:
    world.drain()
    waves: list[int] = []
    for _ in range(40):
        waves += world.step().waves
        world.moves.written(world.now_ns)
        world.answer()
        (progress,) = world.moves.progress(view(world.map, world.answers, world.now_ns))
        assert progress.waiting + progress.split + progress.done == 4
    assert sorted(waves) == [0, 1, 2, 3]
    assert progress.done == 4
    assert progress.forced == 0


def test_a_vserver_that_is_gone_is_forgotten(world: World) -> None:
    world.drain()
    world.step()
    world.moves.reconfigure(LIMITS, {}, slots_per_node=SLOTS_PER_NODE, patience_ns=PATIENCE_NS)
    world.map = BucketMap(buckets={}, slots=world.map.slots)
    assert world.step().moves == ()
    assert world.moves.is_done
