"""Whatever happens in whatever order, moves break nothing that they need not, stay in their bounds, and end."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.buckets import UNASSIGNED, Reason
from controller.moves import MoveLimits, Moves, VserverTraits
from controller.planner import make_plan, plan_failover, plan_tidy
from support.moving import SLOTS_PER_NODE, VSERVER_ID, Answers, S, spread_map, view

NODES = (1, 2, 3)
BUCKETS = 12
LIMITS = MoveLimits(flows=100.0, split=3, idle_split=2)
PATIENCE_NS = 500 * S
nodes = st.sampled_from(NODES)
buckets = st.integers(0, BUCKETS - 1)


class Array(RuleBasedStateMachine):
    """A switch with the map as it was written last, nodes with connections, a controller that moves buckets."""

    def __init__(self) -> None:
        super().__init__()
        self.map = spread_map(BUCKETS, len(NODES))
        self.traits = {VSERVER_ID: VserverTraits(BUCKETS, 60)}
        self.moves = self._make_moves()
        self.answers = Answers()
        self.now_ns = 0
        self.open: Counter[tuple[int, int]] = Counter()
        self.lost: set[int] = set()
        self.switch = [self.map.maybe_node(VSERVER_ID, bucket) for bucket in range(BUCKETS)]

    def _make_moves(self) -> Moves:
        return Moves(LIMITS, self.traits, slots_per_node=SLOTS_PER_NODE, patience_ns=PATIENCE_NS)

    @rule(bucket=buckets)
    def connect(self, bucket: int) -> None:
        node = self.switch[bucket]
        assert node is not None
        if node not in self.lost:
            self.open[node, bucket] += 1

    @rule(node=nodes, bucket=buckets)
    def close(self, node: int, bucket: int) -> None:
        self.open[node, bucket] = 0

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * S

    @rule(node=nodes)
    def answer(self, node: int) -> None:
        if node not in self.lost:
            self.now_ns += 1
            found = {f"b{bucket}": number for (of, bucket), number in self.open.items() if of == node}
            self.answers.answer(node, self.now_ns, **found)

    @rule(found=st.sets(buckets))
    def notice(self, found: set[int]) -> None:
        self.moves.idle([(VSERVER_ID, bucket) for bucket in found], self.now_ns)

    @rule()
    def write(self) -> None:
        self.switch = [self.map.maybe_node(VSERVER_ID, bucket) for bucket in range(BUCKETS)]
        self.moves.written(self.now_ns)

    @rule(weights=st.fixed_dictionaries({node: st.integers(0, 3) for node in NODES}), deadline=st.booleans())
    def plan(self, weights: dict[int, int], deadline: bool) -> None:
        plan = make_plan(self.map, {n: w for n, w in weights.items() if n not in self.lost}, Reason.WEIGHTS)
        deadlines = {n: self.now_ns + 60 * S if deadline else None for n, w in weights.items() if not w}
        self.moves.follow(plan, deadlines, self.now_ns)

    @precondition(lambda self: len(self.lost) < len(NODES) - 1)
    @rule(node=nodes)
    def lose(self, node: int) -> None:
        self.lost.add(node)
        if len(self.lost) == len(NODES):
            self.lost.discard(node)
            return
        survivors = dict.fromkeys(set(NODES) - self.lost, 1)
        self.map.apply(plan_failover(self.map, self.lost, survivors, SLOTS_PER_NODE))
        self.write()
        for bucket in range(BUCKETS):
            self.open[node, bucket] = 0

    @rule(node=nodes)
    def come_back(self, node: int) -> None:
        self.lost.discard(node)

    @rule()
    def tidy(self) -> None:
        """As the controller does in the background: slots that failed over go home."""
        self.map.apply(plan_tidy(self.map, SLOTS_PER_NODE, BUCKETS))

    @rule()
    def restart_controller(self) -> None:
        self.moves, self.answers = self._make_moves(), Answers()

    @rule()
    def step(self) -> None:
        step = self.moves.step(view(self.map, self.answers, self.now_ns, lost=self.lost))
        before = {
            (move.vserver_id, move.bucket): (
                self.map.maybe_old_node(move.vserver_id, move.bucket),
                self.map.maybe_node(move.vserver_id, move.bucket),
            )
            for move in step.moves
        }
        self.map.apply(step.moves)
        assert len(before) == len(step.moves), "a bucket moves once in a step"
        broken = 0
        for move in step.moves:
            old_node, node = before[move.vserver_id, move.bucket]
            if move.old_slot != UNASSIGNED:
                assert old_node is None
                continue
            left = old_node or node
            assert left is not None
            broken += self.map.maybe_node(VSERVER_ID, move.bucket) != left and self.open[left, move.bucket] > 0
        assert broken <= len(step.forced), "connections were broken that nobody had forced"

    @invariant()
    def every_bucket_has_a_node(self) -> None:
        for bucket in range(BUCKETS):
            assert self.map.maybe_node(VSERVER_ID, bucket) in NODES

    @invariant()
    def bounds_are_kept(self) -> None:
        assert len(self.map.splits) <= LIMITS.split + LIMITS.idle_split

    def teardown(self) -> None:
        self.lost.clear()
        self.open.clear()
        for rounds in count():
            self.step()
            if self.moves.is_done:
                break
            self.tidy()
            self.write()
            self.now_ns += S
            for node in NODES:
                self.answer(node)
            assert rounds < 200, "it does not end"
        assert not self.map.splits


TestArray = Array.TestCase
TestArray.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
