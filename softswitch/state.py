"""What a running pipeline holds and gives out, beside its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from softswitch.tables import Table


class Engine(Enum):
    """What runs a pipeline. `AUTO`: native code if it can be made, else Python."""

    AUTO = "auto"
    PYTHON = "python"
    NATIVE = "native"


Cells = MutableSequence[int]
MakeCells = Callable[[int], Cells]


class Output(NamedTuple):
    """One frame to send."""

    port: int
    frame: bytes


class Digest(NamedTuple):
    """A message to the control plane: the struct's members in the order of their declaration."""

    name: str
    values: tuple[int, ...]


class Replica(NamedTuple):
    """One copy that a multicast group makes; `instance` is the copy's `egress_rid`."""

    port: int
    instance: int


CLONE_SESSIONS = 1 << 16
"""Clone session N is the multicast group of this number plus N, behind all that packets can name."""

MAX_CLONE_SESSION = (1 << 15) - 1
"""The greatest session id: BMv2 cuts those of the data plane to 15 bits."""


MAX_EGRESS_CLONES = 256
"""The most copies that clones of egress, and clones of those, make of one packet: there is no endless cloning."""


class IndirectCounter:
    """An array of packet and byte counters."""

    def __init__(self, size: int, make_cells: MakeCells) -> None:
        self.size = size
        self.packets = make_cells(size)
        self.octets = make_cells(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that packets and the control plane change; compiled code keeps hold of these very objects.

    `clones_dropped` is one cell: the copies beyond `MAX_EGRESS_CLONES`.
    """

    tables: Mapping[str, Table]
    counters: Mapping[str, IndirectCounter]
    registers: Mapping[str, Cells]
    clones_dropped: Cells
    multicast_groups: MutableMapping[int, tuple[Replica, ...]] = field(default_factory=dict)
    digests: list[Digest] = field(default_factory=list)
