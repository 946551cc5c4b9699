"""Layer-2 learning [D9]: which station is behind which port of a switch, each VLAN by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller.addresses import is_group, probe_mac, vip_mac
from controller.entries import Entry, Key, Kind
from controller.events import EventKind, EventLog
from pentaflow.config import Configuration

_NS_PER_S = 1_000_000_000

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


class Stations:
    """The tables of all switches that are configured; `tables` has them by name."""

    def __init__(self, configuration: Configuration, capacity: int, events: EventLog) -> None:
        """`capacity`: stations that a switch can learn."""
        self.tables: dict[str, StationTable] = {}
        self._capacity = capacity
        self._events = events
        self._adopted: set[str] = set()
        self.reconfigure(configuration)

    def reconfigure(self, configuration: Configuration) -> None:
        """Other switches, VIPs or times from now on; switches that remain keep their stations."""
        reserved = frozenset(
            [probe_mac(address) for switch in configuration.switches for address in switch.probe_addresses]
            + [vip_mac(vserver.vip) for vserver in configuration.vservers]
        )
        before, self.tables = self.tables, {}
        for switch in configuration.switches:
            ageing_ns = int(switch.mac_ageing_s * _NS_PER_S)
            table = before.get(switch.name) or StationTable(
                reserved=reserved, capacity=self._capacity, ageing_ns=ageing_ns
            )
            table.reconfigure(reserved=reserved, ageing_ns=ageing_ns)
            self.tables[switch.name] = table
        self._adopted &= self.tables.keys()

    def adopt(self, switch: str, entries: Iterable[Key]) -> None:
        """Take over the stations of a switch that is read back for the first time."""
        if switch not in self._adopted:
            self._adopted.add(switch)
            self.tables[switch].adopt(entries)

    def learn(self, switch: str, stations: Iterable[tuple[int, int, int]], now_ns: int) -> tuple[Key, ...]:
        """Frames came from (VLAN id, MAC, port) that the switch does not know: the keys whose entries changed."""
        table = self.tables.get(switch)
        if table is None:
            return ()
        was_full = table.is_full
        keys = tuple(key for station in stations for key in table.learn(*station))
        if table.is_full and not was_full:
            self._events.add(EventKind.STATIONS_FULL, now_ns, switch=switch, stations=len(table))
        return keys

    def age(self, switch: str, keys: Iterable[Key]) -> tuple[Key, ...]:
        """The switch reports that these `smac` entries are idle: the keys whose entries changed."""
        table = self.tables.get(switch)
        return tuple(found for key in keys for found in table.age(*key.match)) if table else ()
