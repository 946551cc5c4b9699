"""Session-id ranges: what load balancers and TLS servers are told of who issues which session ids [P6].

A key is the first KEY_BYTES bytes of a session id, big-endian; a group of ids is a set of keys. It is written as terms
with commas between them, in any of three ways, keys in hexadecimal:

    0a00-0aff    a range: these keys and all between them
    0a00/8       a bit prefix: all keys with the same first 8 bits
    0a17         a list: this key

Servers make ids as `SessionIdRecord.make_id` does: a key of their own, and random bytes. Ids are of TLS 1.2 and before
(RFC 5246, 7.4.1.2: up to 32 bytes); the ids of TLS 1.3 mean nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from pentaflow.fields import Integer, Model, Name

KEY_BYTES = 2
KEY_BITS = 8 * KEY_BYTES
KEYS = 1 << KEY_BITS
MAX_ID_BYTES = 32
MAX_GROUP_TEXT = 6 * KEYS
MAX_IN_USE = 10_000
_CHOICE_BYTES = 8
_DIGITS = 2 * KEY_BYTES
_TERM = re.compile(rf"([0-9a-f]{{{_DIGITS}}})(?:-([0-9a-f]{{{_DIGITS}}})|/([0-9]{{1,2}}))?")


class GroupKind(StrEnum):
    """How a group of ids is written."""

    RANGE = "range"
    PREFIX = "prefix"
    LIST = "list"


class KeyRange(NamedTuple):
    """Keys from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many keys."""
        return self.last - self.first + 1


def key_of(session_id: bytes) -> int | None:
    """The key of an id; None: it is too short to have one."""
    return int.from_bytes(session_id[:KEY_BYTES], "big") if len(session_id) >= KEY_BYTES else None


def read_group(text: str) -> tuple[KeyRange, ...]:
    """The keys of a group, in ascending order; ValueError if it is none."""
    ranges = []
    for term in text.split(",") if text else ():
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"{term[:40]!r} is neither a key like 0a17 nor a range 0a00-0aff nor a prefix 0a00/8")
        first = last = int(match[1], 16)
        if match[2]:
            last = int(match[2], 16)
        elif match[3]:
            free = KEY_BITS - int(match[3])
            if free < 0 or first & ((1 << free) - 1):
                raise ValueError(f"{term!r} is no prefix: {_DIGITS} digits, and 0 beyond the first {match[3]} bits")
            last = first + (1 << free) - 1
        if last < first:
            raise ValueError(f"{term!r} ends before it begins")
        ranges.append(KeyRange(first, last))
    return tuple(_check_disjoint(ranges))


def _check_disjoint(ranges: Iterable[KeyRange]) -> list[KeyRange]:
    """In ascending order; ValueError if a key is in two of them."""
    found = sorted(ranges)
    for before, after in pairwise(found):
        if after.first <= before.last:
            raise ValueError(f"key {after.first:0{_DIGITS}x} is in it twice")
    return found


def write_group(ranges: Iterable[KeyRange], kind: GroupKind = GroupKind.RANGE) -> str:
    """A group as a text of one kind; neighbouring ranges become one."""
    match kind:
        case GroupKind.RANGE:
            terms = [f"{r.first:0{_DIGITS}x}-{r.last:0{_DIGITS}x}" for r in join(ranges)]
        case GroupKind.PREFIX:
            terms = [f"{first:0{_DIGITS}x}/{length}" for r in join(ranges) for first, length in _prefixes(r)]
        case GroupKind.LIST:
            terms = [f"{key:0{_DIGITS}x}" for r in join(ranges) for key in range(r.first, r.last + 1)]
    return ",".join(terms)


def join(ranges: Iterable[KeyRange]) -> list[KeyRange]:
    """The same keys in as few ranges as possible, in ascending order."""
    joined: list[KeyRange] = []
    for found in sorted(ranges):
        if joined and joined[-1].last + 1 == found.first:
            joined[-1] = KeyRange(joined[-1].first, found.last)
        else:
            joined.append(found)
    return joined


def _prefixes(keys: KeyRange) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that are a range: the first key and the length of each."""
    first = keys.first
    while first <= keys.last:
        free = (first & -first).bit_length() - 1 if first else KEY_BITS
        while first + (1 << free) - 1 > keys.last:
            free -= 1
        yield first, KEY_BITS - free
        first += 1 << free


def _group(text: str) -> str:
    read_group(text)
    return text


Group = Annotated[str, Field(max_length=MAX_GROUP_TEXT), AfterValidator(_group)]
ServerId = Annotated[Integer, Field(ge=1, le=65_535)]
HexId = Annotated[str, Field(pattern=rf"^([0-9a-f]{{2}}){{1,{MAX_ID_BYTES}}}$")]
EpochSeconds = Annotated[Integer, Field(ge=0)]


class TableGroup(Model):
    """Whose ids these are: of the first of `servers`, and of the others, which share them with it."""

    keys: Group
    servers: tuple[ServerId, ...] = Field(min_length=1)


class TableException(Model):
    """An id that stays with its issuer although its group is another server's."""

    session_id: HexId
    server: ServerId


class SessionIdTable(Model):
    """What a load balancer knows of the session ids of one vserver.

    Groups have no key in common; ids of none are for `default_server`, if there is one.
    """

    schema_version: Literal[1] = 1
    vserver: Name
    version: Annotated[Integer, Field(ge=0)]
    groups: tuple[TableGroup, ...]
    exceptions: tuple[TableException, ...] = ()
    default_server: ServerId | None = None
    _ranges: list[KeyRange] = PrivateAttr()
    _firsts: list[int] = PrivateAttr()
    _servers: list[tuple[int, ...]] = PrivateAttr()
    _exceptions: dict[bytes, tuple[int, ...]] = PrivateAttr()

    @model_validator(mode="after")
    def _index(self) -> Self:
        found = sorted((keys, group.servers) for group in self.groups for keys in read_group(group.keys))
        self._ranges = _check_disjoint(keys for keys, _ in found)
        self._firsts = [keys.first for keys, _ in found]
        self._servers = [servers for _, servers in found]
        self._exceptions = {bytes.fromhex(e.session_id): (e.server,) for e in self.exceptions}
        return self

    def find(self, session_id: bytes) -> int | None:
        """The server whose group holds an id, or the default one; None: there is no id, or nobody to ask."""
        if not session_id:
            return None
        servers = self.holders(session_id)
        return servers[0] if servers else self.default_server

    def holders(self, session_id: bytes) -> tuple[int, ...]:
        """The server whose group holds an id, and after it those that share it; empty: the id is nobody's."""
        if servers := self._exceptions.get(session_id):
            return servers
        key = key_of(session_id)
        if key is not None and (i := bisect_right(self._firsts, key)) and key <= self._ranges[i - 1].last:
            return self._servers[i - 1]
        return ()


class SessionIdRecord(Model):
    """What one server knows of the session ids of one vserver.

    Attributes:
        vserver, server: whose record it is.
        version: of what was allocated, as the controller counts.
        issues: what it makes new ids from.
        accepts: what it made ids from before: it resumes them as long as they last.
        excluded: ids in `issues` that another server has made and that are still in use.
        shared_with: the servers that make ids from the same keys: each must resume the ids of all.
        lifetime_s: how long an id lasts, counted from the full handshake; resumption does not prolong it.
        issue_until_s: when it stops issuing unless it has a newer record, in seconds since 1970.
    """

    schema_version: Literal[1] = 1
    vserver: Name
    server: ServerId
    version: Annotated[Integer, Field(ge=0)]
    issues: Group = ""
    accepts: Group = ""
    excluded: tuple[HexId, ...] = ()
    shared_with: tuple[ServerId, ...] = ()
    lifetime_s: Annotated[Integer, Field(ge=1)]
    issue_until_s: EpochSeconds
    _ranges: tuple[KeyRange, ...] = PrivateAttr()
    _size: int = PrivateAttr()

    @model_validator(mode="after")
    def _index(self) -> Self:
        self._ranges = read_group(self.issues)
        self._size = sum(keys.size for keys in self._ranges)
        return self

    def make_id(self, random: bytes, now_s: float) -> bytes | None:
        """A new id; None: the server may issue none now.

        Args:
            random: as many random bytes as the id is long, and 8 more.
            now_s: seconds since 1970.
        """
        if not self._size or now_s >= self.issue_until_s:
            return None
        number = int.from_bytes(random[:_CHOICE_BYTES], "big") % self._size
        for keys in self._ranges:
            if number < keys.size:
                return (keys.first + number).to_bytes(KEY_BYTES, "big") + random[_CHOICE_BYTES + KEY_BYTES :]
            number -= keys.size
        raise AssertionError("a number below the number of keys")


class IdInUse(Model):
    """An id that may still be resumed, and when it can no longer be."""

    session_id: HexId
    expires_s: EpochSeconds


class GroupReport(Model):
    """What is left of a group that a server no longer issues from.

    Attributes:
        keys: the group.
        last_expiry_s: when the last id of it expires that is not cancelled; 0: there is none.
        in_use: all of these ids; None: they are too many to be told.
    """

    keys: Group
    last_expiry_s: EpochSeconds
    in_use: Annotated[tuple[IdInUse, ...], Field(max_length=MAX_IN_USE)] | None = None


class SessionIdReport(Model):
    """What a server says that obeys a record of this version: of each group that it only accepts."""

    schema_version: Literal[1] = 1
    version: Annotated[Integer, Field(ge=0)]
    groups: tuple[GroupReport, ...] = ()

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        _check_disjoint(keys for group in self.groups for keys in read_group(group.keys))
        return self


class SessionIdTables(Model):
    """All tables of a load balancer, which takes the place of those that it had."""

    schema_version: Literal[1] = 1
    tables: tuple[SessionIdTable, ...]

    def versions(self) -> dict[str, int]:
        """Vserver → version of its table."""
        return {table.vserver: table.version for table in self.tables}
