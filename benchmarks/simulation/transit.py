"""The transit filter of split buckets as `p4/transit.p4` has it: two registers of times."""

from __future__ import annotations

from benchmarks.simulation.events import hashes
from benchmarks.simulation.trace import Trace
from controller.transit import TICK_NS, window_ticks

CELLS = 65_536
# Any two will do: the switch uses two CRCs of a secret state.
_KEYS = (0xBB67_AE85_84CA_A73B, 0x3C6E_F372_FE94_F82B)


class TransitFilter:
    """Which flows began since their bucket was split, by the switch's lights.

    Attributes:
        most_in_transit: the most flows that were ever marked and seen within the window at one time.
    """

    def __init__(self, trace: Trace, idle_timeout_s: float) -> None:
        self._first, self._second = ((hashes(trace, key) % CELLS).tolist() for key in _KEYS)
        self._first_seen = [0] * CELLS
        self._second_seen = [0] * CELLS
        self._window = window_ticks(idle_timeout_s)
        self._marked: dict[int, int] = {}
        self.most_in_transit = 0

    def knows(self, connection: int, time_s: float, is_syn: bool) -> bool:
        """Whether a packet of a split bucket is a new flow's, which is marked then."""
        now = int(time_s * 1e9) // TICK_NS + 1
        first, second = self._first[connection], self._second[connection]
        seen = (self._first_seen[first], self._second_seen[second])
        if not is_syn and not all(then and now - then <= self._window for then in seen):
            return False
        self._first_seen[first] = self._second_seen[second] = now
        self._marked[connection] = now
        return True

    def age(self, time_s: float) -> None:
        """Count the flows in transit."""
        oldest = int(time_s * 1e9) // TICK_NS + 1 - self._window
        self._marked = {connection: then for connection, then in self._marked.items() if then >= oldest}
        self.most_in_transit = max(self.most_in_transit, len(self._marked))
