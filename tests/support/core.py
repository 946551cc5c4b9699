"""The core with an in-memory switch `s1` that applies what it is told, and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.changes import Changes
from controller.core import Core
from controller.diff import Operation, diff
from controller.entries import Entry, Key
from controller.events import Event, EventKind, EventLog
from controller.health import Check, CheckKind, Outcome
from pentaflow.config import Configuration

MS = 1_000_000
S = 1_000 * MS
PATH = Check(CheckKind.PATH, "s1", "web")
HASH_KEY = 0xABCD
STATION_CAPACITY = 2
#: When the monotonic clock of a world was 0, since 1970.
EPOCH_OFFSET_NS = 1_000 * MS


class CoreWorld:
    """A core, the entries of its switch, and the events that were told."""

    def __init__(
        self, document: dict[str, Any], entries: Mapping[Key, Entry] | None = None, *, now_ns: int = 0
    ) -> None:
        self.document = document
        self.now_ns = now_ns
        self.start_controller()
        self.entries = self.core.assignment.new_actual()
        self.entries.update(entries or {})

    def start_controller(self) -> None:
        """A new one, that knows nothing but what the document says."""
        configuration = Configuration.model_validate(self.document)
        self.told: list[Event] = []
        self.core = Core(
            configuration,
            random_hash_keys={vserver.id: HASH_KEY for vserver in configuration.vservers},
            station_capacity=STATION_CAPACITY,
            transit_cells=65_536,
            events=EventLog(epoch_offset_ns=EPOCH_OFFSET_NS, listener=self.told.append),
            now_ns=self.now_ns,
        )

    def reconcile(self) -> int:
        """The switch is read back and written, and the election goes on: how many updates that took."""
        batches = self.core.reconcile("s1", self.entries, self.now_ns)
        updates = self._write(key for batch in batches for key in batch)
        self.core.reconciled("s1", updates, self.now_ns, self.now_ns)
        return updates + sum(self.carry_out(changes) for changes in self.core.elect(self.now_ns))

    def carry_out(self, changes: Changes | None) -> int:
        """Write what changes; the number of updates."""
        return self._write(changes.keys) if changes else 0

    def observe(self, node_id: int, failure: str = "") -> Changes | None:
        """A probe through the switch has ended."""
        return self.core.observe(node_id, PATH, Outcome(started_ns=self.now_ns, failure=failure), self.now_ns)

    def events(self, kind: EventKind) -> list[dict[str, Any]]:
        """What was told of a kind."""
        return [dict(event.details) for event in self.told if event.kind is kind]

    def _write(self, keys: Iterable[Key]) -> int:
        updates = diff(keys, lambda key: self.core.maybe_entry("s1", key), self.entries)
        for operation, key, entry in updates:
            if operation is Operation.DELETE:
                del self.entries[key]
            else:
                assert entry is not None
                self.entries[key] = entry
        return len(updates)
