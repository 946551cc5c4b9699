"""Writing and reading indirect counters and registers (P4Runtime 1.5, "CounterEntry" and "RegisterEntry")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.bytestrings import decode_bits, encode_bits
from softswitch.p4runtime.p4info import CounterInfo, PipelineInfo, RegisterInfo
from softswitch.p4runtime.status import Code, RequestError
from softswitch.p4runtime.table_entries import check_counter_data, counter_data
from softswitch.pipeline import IndirectCounter
from softswitch.state import Cells


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)


def _cells(message: p4r.CounterEntry | p4r.RegisterEntry, info: CounterInfo | RegisterInfo) -> range:
    """The cells that a message is about: the one of its index, or all."""
    if not message.HasField("index"):
        return range(info.size)
    index = message.index.index
    if index < 0:
        raise _invalid(f"index {index} of '{info.name}' is negative")
    if index >= info.size:
        raise RequestError(Code.OUT_OF_RANGE, f"index {index} of '{info.name}' is beyond its {info.size} cells")
    return range(index, index + 1)


class Counters:
    """The indirect counters of a pipeline."""

    def __init__(self, info: PipelineInfo, counters: Mapping[str, IndirectCounter]) -> None:
        self._counters = {counter.id: (counter, counters[counter.name]) for counter in info.counters.values()}

    def write(self, message: p4r.CounterEntry) -> None:
        """Set one cell, or all of a counter; raises RequestError and changes nothing when it can't."""
        info, counter = self._find(message.counter_id)
        cells = _cells(message, info)
        if message.HasField("data"):
            check_counter_data(message.data)
            for cell in cells:
                counter.packets[cell] = message.data.packet_count
                counter.octets[cell] = message.data.byte_count

    def read(self, query: p4r.CounterEntry) -> Iterator[p4r.Entity]:
        """One cell, the cells of one counter, or of all; raises RequestError before the first."""
        if query.counter_id:
            info, counter = self._find(query.counter_id)
            return self._encode(info, counter, _cells(query, info))
        return (
            entity
            for info, counter in self._counters.values()
            for entity in self._encode(info, counter, range(info.size))
        )

    def _find(self, counter_id: int) -> tuple[CounterInfo, IndirectCounter]:
        try:
            return self._counters[counter_id]
        except KeyError:
            raise _invalid(f"there is no counter with id {counter_id}") from None

    @staticmethod
    def _encode(info: CounterInfo, counter: IndirectCounter, cells: range) -> Iterator[p4r.Entity]:
        for cell in cells:
            yield p4r.Entity(
                counter_entry=p4r.CounterEntry(
                    counter_id=info.id,
                    index=p4r.Index(index=cell),
                    data=counter_data(counter.packets[cell], counter.octets[cell]),
                )
            )


class Registers:
    """The registers of a pipeline."""

    def __init__(self, info: PipelineInfo, registers: Mapping[str, Cells]) -> None:
        self._registers = {register.id: (register, registers[register.name]) for register in info.registers.values()}

    def write(self, message: p4r.RegisterEntry) -> None:
        """Set one cell, or all of a register; raises RequestError and changes nothing when it can't."""
        info, register = self._find(message.register_id)
        cells = _cells(message, info)
        kind = message.data.WhichOneof("data")
        if kind != "bitstring":
            raise _invalid(f"register '{info.name}' takes a bitstring, not {kind or 'nothing'}")
        value = decode_bits(message.data.bitstring, info.width, f"the value of register '{info.name}'")
        for cell in cells:
            register[cell] = value

    def read(self, query: p4r.RegisterEntry) -> Iterator[p4r.Entity]:
        """One cell, the cells of one register, or of all; raises RequestError before the first."""
        if query.register_id:
            info, register = self._find(query.register_id)
            return self._encode(info, register, _cells(query, info))
        return (
            entity
            for info, register in self._registers.values()
            for entity in self._encode(info, register, range(info.size))
        )

    def _find(self, register_id: int) -> tuple[RegisterInfo, Cells]:
        try:
            return self._registers[register_id]
        except KeyError:
            raise _invalid(f"there is no register with id {register_id}") from None

    @staticmethod
    def _encode(info: RegisterInfo, register: Cells, cells: range) -> Iterator[p4r.Entity]:
        for cell in cells:
            entry = p4r.RegisterEntry(register_id=info.id, index=p4r.Index(index=cell))
            entry.data.bitstring = encode_bits(register[cell])
            yield p4r.Entity(register_entry=entry)
