"""Layer-2 learning [D9]: which station is behind which port, each VLAN by itself. One table for each switch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller.addresses import is_group
from controller.entries import Entry, Key, Kind

Station = tuple[int, int]  # VLAN id, MAC


class StationTable:
    """The stations of one switch. Changes answer the keys whose entries changed; the switch ages stations."""

    def __init__(self, *, reserved: frozenset[int], capacity: int, ageing_ns: int) -> None:
        """
        Args:
            reserved: MACs that are never learnt: those of VIPs and of probes.
            capacity: stations at most.
            ageing_ns: idle timeout of a station's `smac` entry.
        """
        self._reserved = reserved
        self._capacity = capacity
        self._known = Entry((), ageing_ns)
        self._ports: dict[Station, int] = {}

    def reconfigure(self, *, reserved: frozenset[int], ageing_ns: int) -> None:
        """Other MACs are never learnt, or stations age otherwise; see `__init__`."""
        self._reserved = reserved
        self._known = Entry((), ageing_ns)
        self._ports = {station: port for station, port in self._ports.items() if station[1] not in reserved}

    def __len__(self) -> int:
        return len(self._ports)

    @property
    def is_full(self) -> bool:
        """Whether further stations are left unlearnt; frames to them are flooded."""
        return len(self._ports) >= self._capacity

    def adopt(self, entries: Iterable[Key]) -> None:
        """Take over the stations of a switch that was read back; of one that is on two ports, the later read."""
        for key in entries:
            if key.kind is Kind.SMAC:
                self.learn(*key.match)

    def learn(self, vlan_id: int, mac: int, port: int) -> list[Key]:
        """A frame from this station came in; one that was on another port has moved."""
        station = (vlan_id, mac)
        before = self._ports.get(station)
        if mac in self._reserved or is_group(mac) or mac == 0 or before == port:
            return []
        if before is None and self.is_full:
            return []
        self._ports[station] = port
        keys = [Key(Kind.DMAC, station), Key(Kind.SMAC, (*station, port))]
        return keys if before is None else [*keys, Key(Kind.SMAC, (*station, before))]

    def age(self, vlan_id: int, mac: int, port: int) -> list[Key]:
        """The switch has not seen the station on this port for the ageing time."""
        station = (vlan_id, mac)
        if self._ports.get(station) != port:
            return []
        del self._ports[station]
        return [Key(Kind.DMAC, station), Key(Kind.SMAC, (*station, port))]

    def maybe_entry(self, key: Key) -> Entry | None:
        """The entry that a `smac` or `dmac` key should have."""
        port = self._ports.get((key.match[0], key.match[1]))
        if port is None:
            return None
        if key.kind is Kind.DMAC:
            return Entry((port,))
        return self._known if key.match[2] == port else None

    def entry_keys(self) -> Iterator[Key]:
        """The keys of all entries."""
        for station, port in self._ports.items():
            yield Key(Kind.DMAC, station)
            yield Key(Kind.SMAC, (*station, port))

    def ports(self) -> Mapping[Station, int]:
        """(VLAN id, MAC) → port."""
        return self._ports
