"""Match-action tables: entries, matching, idle timers.

All matching is hashing: entries are grouped by the bits that they look at (tuple-space search), one dictionary a
group. An exact table is the case of one group, which compiled pipelines look up directly in `Table.exact`. Tables with
ranges are scanned in order of priority.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, assert_never

MatchValue = int | tuple[int, int] | None
Key = tuple[int, ...]


class MatchKind(Enum):
    """How a field matches; the values are P4's names."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"
    RANGE = "range"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A match field; `width` in bits."""

    name: str
    width: int
    kind: MatchKind


class Hits(Protocol):
    """What packets change in an entry: in Python's memory, or in that of native code."""

    packets: int
    octets: int
    last_hit_ns: int


@dataclass(slots=True)
class _Hits:
    packets: int
    octets: int
    last_hit_ns: int


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """An entry. Match values by kind: exact, value; lpm, (value, prefix length); ternary, (value, mask); range,
    (low, high); optional, value or None. A greater priority wins (P4Runtime 9.1.2).

    `code` and `hits` are there once the entry is in a table.
    """

    match: tuple[MatchValue, ...]
    priority: int = 0
    action: str
    params: tuple[int, ...]
    idle_timeout_ns: int = 0
    controller_metadata: int = 0
    metadata: bytes = b""
    is_const: bool = False
    code: int = field(init=False, repr=False)
    hits: Hits = field(init=False, repr=False)

    @property
    def packets(self) -> int:
        """How many packets hit the entry."""
        return self.hits.packets

    @packets.setter
    def packets(self, packets: int) -> None:
        self.hits.packets = packets

    @property
    def octets(self) -> int:
        """How many octets those packets had."""
        return self.hits.octets

    @octets.setter
    def octets(self, octets: int) -> None:
        self.hits.octets = octets

    @property
    def last_hit_ns(self) -> int:
        """When the entry was hit, or written, last."""
        return self.hits.last_hit_ns

    @last_hit_ns.setter
    def last_hit_ns(self, last_hit_ns: int) -> None:
        self.hits.last_hit_ns = last_hit_ns


class EntryExists(Exception):
    """An entry with this match and priority is there already."""


class EntryNotFound(Exception):
    """There is no entry with this match and priority."""


class TableFull(Exception):
    """The table holds as many entries as it was declared for."""


Criterion = tuple[int, int, int]
"""Mask, low and high: a field matches when `low <= value & mask <= high`."""


class Mirror(Protocol):
    """A copy of a table for native code, told of every change after it was made.

    It keeps the hits of the entries.
    """

    def insert_exact(self, entry: Entry, now_ns: int) -> Hits:
        """An entry is in a table with exact fields only."""

    def insert_ranked(self, entry: Entry, criteria: Sequence[Criterion], rank: int, now_ns: int) -> Hits:
        """An entry is in a table of another kind; of those that match, the greatest rank wins."""

    def modify(self, entry: Entry) -> None:
        """An entry has another action or other parameters."""

    def delete(self, entry: Entry) -> None:
        """An entry has gone."""

    def set_default(self, entry: Entry) -> Hits:
        """There is another default entry."""


class _Group:
    """Entries that look at the same bits, by the value of those bits; a chain is sorted with the winner first.

    `rank` is at least that of any entry in the group.
    """

    __slots__ = ("chains", "masks", "rank")

    def __init__(self, masks: Key) -> None:
        self.masks = masks
        self.chains: dict[Key, list[tuple[int, Entry]]] = {}
        self.rank = 0


class Table:
    """A table at run time. Not for use from several threads at once.

    Match values must fit the key (the P4Runtime server checks them). A ternary field takes what an optional one does,
    too: BMv2 JSON does not tell them apart.

    Args:
        name: fully qualified, as in P4Info.
        fields: the key; none for a table that only has a default entry.
        actions: action name to parameter widths in bits; an entry's `code` is its action's place in here.
        size: how many entries it may hold.
        default: the entry for packets that match no other.
    """

    def __init__(
        self,
        *,
        name: str,
        fields: tuple[Field, ...],
        actions: Mapping[str, tuple[int, ...]],
        size: int,
        default: Entry,
        default_is_const: bool = False,
        is_const: bool = False,
        supports_idle_timeout: bool = False,
        has_counter: bool = False,
    ) -> None:
        self.name = name
        self.fields = fields
        self.actions = actions
        self.size = size
        self.is_const = is_const
        self.default_is_const = default_is_const
        self.supports_idle_timeout = supports_idle_timeout
        self.has_counter = has_counter
        kinds = {f.kind for f in fields}
        self.is_exact = kinds <= {MatchKind.EXACT}
        self._needs_priority = bool(kinds & {MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL})
        self._has_range = MatchKind.RANGE in kinds
        self._codes = {action: code for code, action in enumerate(actions)}
        self._entries: dict[Hashable, Entry] = {}
        self._groups: dict[Key, _Group] = {}
        self._search: list[_Group] = []
        self._scan: list[tuple[tuple[Criterion, ...], Entry]] = []
        self._mirror: Mirror | None = None
        self._initial_default = (default.action, default.params)
        self._become_default(default)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def exact(self) -> Mapping[Hashable, Entry]:
        """The entries of an exact table by field value, or by the tuple of values; the same object for ever."""
        return self._entries

    def attach(self, mirror: Mirror) -> None:
        """Tell a mirror of what there is, and of every change from now on; hits start again."""
        self._mirror = mirror
        self._become_default(self.default)
        for entry in self:
            entry.hits = self._new_hits(entry, entry.last_hit_ns)

    def _new_hits(self, entry: Entry, now_ns: int) -> Hits:
        if self._mirror is None:
            return _Hits(0, 0, now_ns)
        if self.is_exact:
            return self._mirror.insert_exact(entry, now_ns)
        return self._mirror.insert_ranked(entry, self._criteria(entry.match), self._rank(entry), now_ns)

    def _become_default(self, entry: Entry) -> None:
        entry.code = self._codes[entry.action]
        entry.hits = _Hits(0, 0, 0) if self._mirror is None else self._mirror.set_default(entry)
        self.default = entry

    def insert(self, entry: Entry, now_ns: int) -> None:
        """Add an entry.

        Raises:
            EntryExists: there is one with the same match and priority.
            TableFull: the table is at its size.
        """
        identity = self._identity(entry.match, entry.priority)
        if identity in self._entries:
            raise EntryExists(self.name)
        if len(self._entries) >= self.size:
            raise TableFull(self.name)
        entry.code = self._codes[entry.action]
        entry.hits = self._new_hits(entry, now_ns)
        self._entries[identity] = entry
        if self._has_range:
            self._scan.append((self._criteria(entry.match), entry))
            self._scan.sort(key=lambda item: -item[1].priority)
        elif not self.is_exact:
            self._add_to_group(entry)

    def modify(self, entry: Entry, now_ns: int) -> None:
        """Replace action, parameters, timeout and metadata; re-arm the idle timer; keep the counter.

        Raises:
            EntryNotFound: there is none with this match and priority.
        """
        known = self.find(entry.match, entry.priority)
        known.action = entry.action
        known.params = entry.params
        known.code = self._codes[entry.action]
        known.idle_timeout_ns = entry.idle_timeout_ns
        known.controller_metadata = entry.controller_metadata
        known.metadata = entry.metadata
        known.last_hit_ns = now_ns
        if self._mirror is not None:
            self._mirror.modify(known)

    def delete(self, match: tuple[MatchValue, ...], priority: int) -> None:
        """Remove an entry.

        Raises:
            EntryNotFound: there is none with this match and priority.
        """
        entry = self.find(match, priority)
        del self._entries[self._identity(match, priority)]
        if self._has_range:
            self._scan = [item for item in self._scan if item[1] is not entry]
        elif not self.is_exact:
            self._remove_from_group(entry)
        if self._mirror is not None:
            self._mirror.delete(entry)

    def find(self, match: tuple[MatchValue, ...], priority: int) -> Entry:
        """The entry with this match and priority.

        Raises:
            EntryNotFound: there is none.
        """
        try:
            return self._entries[self._identity(match, priority)]
        except KeyError:
            raise EntryNotFound(self.name) from None

    def set_default(self, action: str, params: tuple[int, ...]) -> None:
        """Replace the default entry's action; its counter starts again.

        Raises:
            ValueError: the default action is constant.
        """
        if self.default_is_const:
            raise ValueError(f"the default action of table {self.name} is constant")
        self._become_default(Entry(match=(), action=action, params=params))

    def reset_default(self) -> None:
        """Bring back the default entry that the program declares."""
        self.set_default(*self._initial_default)

    def idle(self, now_ns: int) -> Iterator[Entry]:
        """Entries that no packet has hit for their idle timeout."""
        for entry in self._entries.values():
            if 0 < entry.idle_timeout_ns <= now_ns - entry.last_hit_ns:
                yield entry

    def lookup(self, key: Key) -> Entry | None:
        """The entry for a packet with these field values; None when the default entry applies."""
        if self.is_exact:
            return self._entries.get(key[0] if len(key) == 1 else key)
        if self._has_range:
            for criteria, entry in self._scan:
                for value, (mask, low, high) in zip(key, criteria, strict=True):
                    if not low <= value & mask <= high:
                        break
                else:
                    return entry
            return None
        best: Entry | None = None
        best_rank = -1
        for group in self._search:
            if group.rank <= best_rank:
                break
            chain = group.chains.get(tuple([value & mask for value, mask in zip(key, group.masks, strict=True)]))
            if chain is not None and chain[0][0] > best_rank:
                best_rank, best = chain[0]
        return best

    def _criteria(self, match: tuple[MatchValue, ...]) -> tuple[Criterion, ...]:
        return tuple([_criterion(f, value) for f, value in zip(self.fields, match, strict=True)])

    def _identity(self, match: tuple[MatchValue, ...], priority: int) -> Hashable:
        if self.is_exact:
            return match[0] if len(match) == 1 else match
        return self._criteria(match), priority if self._needs_priority else 0

    def _place(self, entry: Entry) -> tuple[Key, Key, int]:
        """The masks, the masked values and the rank under which an entry is found."""
        criteria = self._criteria(entry.match)
        masks = tuple([mask for mask, _, _ in criteria])
        return masks, tuple([value for _, value, _ in criteria]), self._rank(entry)

    def _rank(self, entry: Entry) -> int:
        # Without priorities there is one longest-prefix field at most: more bits in all means a longer prefix.
        if self._needs_priority:
            return entry.priority
        return sum(mask.bit_count() for mask, _, _ in self._criteria(entry.match))

    def _add_to_group(self, entry: Entry) -> None:
        masks, values, rank = self._place(entry)
        group = self._groups.get(masks)
        if group is None:
            group = self._groups[masks] = _Group(masks)
            self._search.append(group)
        chain = group.chains.setdefault(values, [])
        chain.append((rank, entry))
        chain.sort(key=lambda item: -item[0])
        group.rank = max(group.rank, rank)
        self._search.sort(key=lambda g: -g.rank)

    def _remove_from_group(self, entry: Entry) -> None:
        masks, values, _ = self._place(entry)
        group = self._groups[masks]
        chain = [item for item in group.chains[values] if item[1] is not entry]
        if chain:
            group.chains[values] = chain
        else:
            del group.chains[values]
        if not group.chains:
            del self._groups[masks]
            self._search.remove(group)


def _criterion(field: Field, value: MatchValue) -> Criterion:
    full = (1 << field.width) - 1
    if value is None:
        return 0, 0, 0
    if isinstance(value, int):
        return full, value, value
    first, second = value
    match field.kind:
        case MatchKind.RANGE:
            return full, first, second
        case MatchKind.LPM:
            mask = full ^ (full >> second)
            return mask, first & mask, first & mask
        case MatchKind.EXACT | MatchKind.TERNARY | MatchKind.OPTIONAL:
            return second, first & second, first & second
        case _:
            assert_never(field.kind)
