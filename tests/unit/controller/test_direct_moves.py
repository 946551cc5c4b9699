"""How buckets of direct servers move, who tell nothing about their connections [B11]."""

from __future__ import annotations

from controller.buckets import UNASSIGNED, BucketMap, Reason
from controller.moves import MoveLimits, Moves, Step, VserverTraits, Way
from controller.planner import make_plan
from support.moving import SLOTS_PER_NODE, VSERVER_ID, Answers, S, spread_map, view

BUCKETS = 8
IDLE_S = 30


class World:
    """Two servers with four buckets each, of which the first is drained."""

    def __init__(self, way: Way) -> None:
        self.map: BucketMap = spread_map(BUCKETS, 2)
        self.now_ns = 100 * S
        self.moves = Moves(
            MoveLimits(flows=100.0, split=3, idle_split=1),
            {VSERVER_ID: VserverTraits(BUCKETS, IDLE_S, way)},
            slots_per_node=SLOTS_PER_NODE,
            patience_ns=1000 * S,
        )
        self.leaving = [b for b in range(BUCKETS) if self.map.maybe_node(VSERVER_ID, b) == 1]
        self.moves.follow(make_plan(self.map, {1: 0, 2: 1}, Reason.DRAIN), {}, self.now_ns)

    def step(self, seconds: float = 1) -> Step:
        self.now_ns += int(seconds * S)
        step = self.moves.step(view(self.map, Answers(), self.now_ns)._replace(loads={}))
        self.map.apply(step.moves)
        return step

    def idle(self, *buckets: int) -> bool:
        return self.moves.idle([(VSERVER_ID, bucket) for bucket in buckets], self.now_ns)

    @property
    def split(self) -> list[int]:
        return sorted(bucket for _, bucket in self.map.splits)


def test_over_tcp_buckets_are_split_though_nobody_knows_their_load() -> None:
    world = World(Way.WATCH)
    world.step()
    assert world.split == world.leaving[:3]
    assert not world.moves.asked(world.map), "there is nobody to ask"
    assert not world.step().moves


def test_over_tcp_a_split_ends_when_the_switch_says_that_no_packet_came_since() -> None:
    world = World(Way.WATCH)
    world.step()
    first = world.split[0]
    world.idle(first)
    assert not world.step().moves, "the switch may not have the split yet"
    world.moves.written(world.now_ns)
    world.now_ns += S
    world.idle(first)
    assert not world.step().moves, "the notice may have been under way before the split was written"
    world.now_ns += IDLE_S * S
    world.idle(first)
    settled = world.step().moves
    assert [(m.bucket, m.old_slot) for m in settled if m.bucket == first] == [(first, UNASSIGNED)]
    assert world.map.maybe_node(VSERVER_ID, first) == 2


def test_over_tcp_an_idle_bucket_is_split_beyond_the_others() -> None:
    world = World(Way.WATCH)
    world.idle(world.leaving[3])
    world.step()
    assert world.split == world.leaving


def test_over_tcp_what_is_never_idle_stays_until_the_deadline() -> None:
    world = World(Way.WATCH)
    world.step()
    world.moves.written(world.now_ns)
    for _ in range(500):
        assert not world.step().moves
    assert len(world.step(500).forced) == 4
    assert dict(world.map.holding(VSERVER_ID)) == {2: BUCKETS}


def test_over_udp_nothing_is_split_and_an_idle_bucket_moves_at_that_moment() -> None:
    world = World(Way.WHOLE)
    assert not world.step().moves
    first, second = world.leaving[:2]
    assert world.idle(first), "a step is to be taken at once"
    (move,) = world.step(0).moves
    assert (move.bucket, move.old_slot) == (first, UNASSIGNED)
    assert world.map.maybe_node(VSERVER_ID, first) == 2
    world.idle(second)
    assert not world.step(1).moves, "a flow may have begun in a second"
    assert not world.idle(first), "it has moved"
    assert not world.moves.asked(world.map)


def test_over_udp_what_is_never_idle_stays_until_the_deadline() -> None:
    world = World(Way.WHOLE)
    for _ in range(500):
        assert not world.step().moves
    assert len(world.step(500).forced) == 4
    assert not world.map.splits


def test_a_notice_from_before_the_plan_moves_no_udp_bucket() -> None:
    world = World(Way.WHOLE)
    world.idle(*world.leaving)
    world.moves.follow(make_plan(world.map, {1: 0, 2: 1}, Reason.DRAIN), {}, world.now_ns + S)
    assert not world.step(1.5).moves
