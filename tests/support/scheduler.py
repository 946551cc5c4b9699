"""The compiled Pentaflow pipeline by itself, with the time in the test's hand."""

from __future__ import annotations

import finsy as fy

from softswitch.pipeline import Output, load_pipeline
from softswitch.tables import Entry
from support.control import Entity
from support.packets import CLIENT
from support.pipelines import PENTAFLOW_JSON


class Scheduler:
    """The pipeline with some table state; entries are those of `support.packets`."""

    def __init__(self, *entities: Entity) -> None:
        self.pipeline = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow.json")
        self._tables = {name.rpartition(".")[2]: table for name, table in self.pipeline.tables.items()}
        for entity in entities:
            if isinstance(entity, fy.P4TableEntry):
                self.insert(entity)

    def insert(self, entity: fy.P4TableEntry) -> None:
        """Add an entry of a table whose keys and parameters are all numbers, IPv4 or MAC addresses."""
        action = entity.action
        assert isinstance(action, fy.Action)
        assert entity.match is not None
        table = self._tables[entity.table_id]
        name = next(name for name in table.actions if name.rpartition(".")[2] == action.name)
        match = tuple(_number(value) for value in entity.match.values())
        params = tuple(_number(value) for value in action.args.values())
        table.insert(Entry(match=match, action=name, params=params), now_ns=0)

    def run(self, frame: bytes, *, now_ns: int = 0, port: int = CLIENT.port) -> list[Output]:
        """What a frame causes."""
        return self.pipeline.process(port, frame, now_ns)

    def drops(self, index: int) -> int:
        """How many packets were dropped for this reason."""
        return self.pipeline.counters["PentaflowIngress.drops"].packets[index]


def _number(value: object) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str) and ":" in value:
        return int(value.replace(":", ""), 16)
    return int.from_bytes(bytes(map(int, str(value).split("."))))
