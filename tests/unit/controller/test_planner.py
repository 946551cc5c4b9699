"""Plans: what moves, where to and why."""

from __future__ import annotations

from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, BucketMove, Reason, SlotMove, home_slots
from controller.plan import PlannedMove
from controller.planner import make_plan, plan_assignment, plan_failover, plan_tidy

NODES = {1: 1, 2: 1, 3: 1}


def fresh(size: int = 256, weights: dict[int, int] = NODES) -> BucketMap:
    return adopt({}, {}, sizes={7: size}, weights=weights, configured=weights.keys(), slots_per_node=16)


def test_a_dead_nodes_slots_go_to_the_survivors_in_even_shares() -> None:
    bucket_map = fresh(4096)
    moves = plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16)
    assert [move.slot for move in sorted(moves, key=lambda m: m.slot)] == list(home_slots(2, 16))
    assert {move.reason for move in moves} == {Reason.NODE_DOWN}
    bucket_map.apply(moves)
    loads = bucket_map.node_loads()
    assert loads[1] + loads[3] == 4096
    assert abs(loads[1] - loads[3]) <= 4096 // 3 // 16 + 1
    assert plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16) == ()


def test_survivors_take_over_by_weight() -> None:
    bucket_map = fresh(4096, {1: 3, 2: 4, 3: 1})
    bucket_map.apply(plan_failover(bucket_map, {2}, {1: 3, 3: 1}, 16))
    loads = bucket_map.node_loads()
    assert abs(loads[1] - 3 * loads[3]) <= 4 * 128


def test_without_survivors_the_last_map_is_kept() -> None:
    assert plan_failover(fresh(), {1, 2, 3}, {}, 16) == ()


def test_an_empty_slot_of_a_dead_node_is_not_written() -> None:
    bucket_map = BucketMap(buckets={7: [16]}, slots={16: 1, 17: 1, 32: 2})
    assert [move.slot for move in plan_failover(bucket_map, {1}, {2: 1}, 16)] == [16]


def test_a_slot_whose_own_node_is_back_goes_home() -> None:
    bucket_map = BucketMap(buckets={7: [16, 17, 48]}, slots={16: 2, 17: 2, 48: 3})
    assert plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 1) == (
        SlotMove(slot=16, from_node=2, to_node=1, reason=Reason.NODE_DOWN),
        SlotMove(slot=17, from_node=2, to_node=1, reason=Reason.NODE_DOWN),
    ), "16 is at home with 1; 17 is not used by nodes with one slot, and 1 and 3 carry the same then"


def test_tidying_brings_buckets_home_then_slots_and_then_is_done() -> None:
    bucket_map = fresh(256)
    bucket_map.apply(plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16))
    owners = bucket_map.owners(7).tolist()
    steps = []
    while moves := plan_tidy(bucket_map, 16, limit=50):
        steps.append({type(move) for move in moves})
        assert len([move for move in moves if isinstance(move, BucketMove)]) <= 50
        bucket_map.apply(moves)
    assert steps == [{BucketMove}, {BucketMove}, {SlotMove}]
    assert bucket_map.owners(7).tolist() == owners, "no client moves"
    assert all(slot // 16 == node for slot, node in bucket_map.slots.items())
    levels = [bucket_map.load(slot) for slot in home_slots(1, 16)]
    assert max(levels) - min(levels) <= 1


def test_a_plan_names_what_moves_and_why() -> None:
    bucket_map = BucketMap(buckets={7: [16] * 5 + [32]}, slots={16: 1, 32: 2})
    plan = make_plan(bucket_map, {1: 1, 2: 1}, Reason.WEIGHTS)
    assert list(plan) == [PlannedMove(7, 0, 1, 2, 0), PlannedMove(7, 1, 1, 2, 1)]
    assert (plan.reason, plan.map_version, len(plan), plan.waves) == (Reason.WEIGHTS, 0, 2, 2)
    assert plan.wave(1) == (PlannedMove(7, 1, 1, 2, 1),)
    assert (plan.by_vserver(), plan.losses(), plan.gains()) == ({7: 2}, {1: 2}, {2: 2})
    assert plan == make_plan(bucket_map, {1: 1, 2: 1}, Reason.WEIGHTS)
    assert hash(plan) == hash(make_plan(bucket_map, {1: 1, 2: 1}, Reason.WEIGHTS))
    assert plan != make_plan(bucket_map, {1: 1, 2: 1}, Reason.DRAIN)
    assert plan.is_for(bucket_map)
    bucket_map.apply([bucket_map.moved(7, 0, 32, plan.reason)])
    assert not plan.is_for(bucket_map)


def test_a_drained_node_keeps_nothing_and_the_others_take_over_in_turn() -> None:
    plan = make_plan(fresh(3 * 1024), {1: 1, 2: 0, 3: 1}, Reason.DRAIN)
    assert (plan.losses(), plan.gains()) == ({2: 1024}, {1: 512, 3: 512})
    assert {move.to_node for move in plan.wave(0)} == {1, 3}
    assert all(len(plan.wave(number)) == 12 for number in range(plan.waves - 1)), "1/256 of the vserver's buckets"


def test_where_nobody_has_weight_nothing_moves() -> None:
    assert not make_plan(fresh(), dict.fromkeys(NODES, 0), Reason.DRAIN)
    assert not make_plan(fresh(), {}, Reason.DRAIN)


def test_split_buckets_are_moved_last() -> None:
    bucket_map = BucketMap(buckets={7: [16] * 4}, slots={16: 1, 32: 2, 48: 3})
    bucket_map.apply([bucket_map.split(7, 0, 32, Reason.REBALANCE), bucket_map.moved(7, 1, 32, Reason.REBALANCE)])
    plan = make_plan(bucket_map, {1: 1, 2: 0, 3: 1}, Reason.DRAIN)
    assert list(plan) == [PlannedMove(7, 1, 2, 3, 0), PlannedMove(7, 0, 2, 3, 1)]


def test_tidying_keeps_splits_and_settles_those_whose_connections_are_lost() -> None:
    bucket_map = BucketMap(buckets={7: [16, 32, 16]}, slots={16: 1, 32: 2, 48: 3})
    bucket_map.apply([bucket_map.split(7, 0, 32, Reason.DRAIN), bucket_map.split(7, 1, 16, Reason.DRAIN)])
    bucket_map.apply(plan_failover(bucket_map, {2}, {3: 1}, 1))
    assert bucket_map.owners(7).tolist() == [3, 1, 1]
    assert plan_tidy(bucket_map, 1, 9) == (
        BucketMove(vserver_id=7, bucket=1, from_slot=16, to_slot=16, reason=Reason.NORMALISE),
    ), "its open connections were node 2's"
    bucket_map.apply(plan_tidy(bucket_map, 1, 9))
    assert plan_tidy(bucket_map, 1, 9) == (
        BucketMove(vserver_id=7, bucket=0, from_slot=32, to_slot=48, reason=Reason.NORMALISE, old_slot=16),
    ), "node 1 has open connections in it"


def test_a_bucket_on_demand_goes_to_who_has_least_per_weight_then_fewest_hits_then_connections() -> None:
    bucket_map = BucketMap(buckets={7: [UNASSIGNED] * 4 + [16]}, slots={16: 1, 32: 2, 48: 3})

    def to_slots(weights: dict[int, int], hits: dict[int, int], open_connections: dict[int, int]) -> list[int]:
        moves = plan_assignment(bucket_map, 7, 0, weights, 1, hits=hits, open_connections=open_connections)
        return [move.to_slot for move in moves]

    assert to_slots({1: 1, 2: 1, 3: 1}, {}, {}) == [32]
    assert to_slots({1: 1, 2: 1, 3: 1}, {2: 5, 3: 4}, {3: 9}) == [48]
    assert to_slots({1: 1, 2: 1, 3: 1}, {2: 5, 3: 5}, {2: 2, 3: 1}) == [48]
    assert to_slots({1: 1, 2: 0}, {}, {}) == [16]
    assert to_slots({4: 1}, {}, {}) == [], "it has no slot"
    (move,) = plan_assignment(bucket_map, 7, 0, {2: 1}, 1, hits={}, open_connections={})
    bucket_map.apply([move])
    assert (bucket_map.maybe_node(7, 0), bucket_map.load(32)) == (2, 1)
    assert plan_assignment(bucket_map, 7, 0, {3: 1}, 1, hits={}, open_connections={}) == (), "it has one now"
