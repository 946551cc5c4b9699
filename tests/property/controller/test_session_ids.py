"""Whatever happens in whatever order, session ids in use are found at their issuer; re-plans move the least [P6]."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.session_ids.allocation import CLOCK_MARGIN_S, EMPTY, Allocation, Stage, make_record, make_table
from controller.session_ids.passing import advance, grant, take_report
from controller.session_ids.replan import replan
from controller.session_ids.shares import Wanted
from pentaflow.session_id_settings import SessionIds
from pentaflow.session_ids import (
    KEYS,
    GroupKind,
    GroupReport,
    IdInUse,
    KeyRange,
    SessionIdRecord,
    SessionIdReport,
    SessionIdTable,
    key_of,
    read_group,
    write_group,
)

SERVERS = (1, 2, 3, 4)
SHARING = (1, 2)  # one session cache, whether or not the configuration says so
BALANCERS = 2
LONG = SessionIds(lifetime_s=100, lease_s=200, exceptions=3)
SHORT = SessionIds(lifetime_s=5, lease_s=10, exceptions=3)
START_S = 1_000_000
STEP = KEYS // 16


def wanted_by_chance(chance: Random) -> Wanted:
    """Any servers of four, the first two together or not, and at most the whole space between them."""
    members: dict[int, tuple[int, ...]] = {s: (s,) for s in chance.sample(SERVERS, chance.randint(1, len(SERVERS)))}
    if set(SHARING) <= members.keys() and chance.random() < 0.5:
        first, second = chance.sample(SHARING, 2)
        members[first] = (first, second)
        del members[second]
    left = KEYS
    sizes = {}
    for holder in members:
        sizes[holder] = chance.randint(0, left // STEP) * STEP
        left -= sizes[holder]
    return Wanted(members=members, sizes=sizes)


def sizes(allocation: Allocation, stage: Stage) -> dict[int | None, int]:
    found: dict[int | None, int] = {}
    for piece in allocation.pieces:
        if piece.stage is stage:
            found[piece.holder] = found.get(piece.holder, 0) + piece.size
    return found


class Server:
    """Obeys the last record that it got, by a clock that is not quite right."""

    def __init__(self, number: int, skew_s: int) -> None:
        self.number = number
        self.skew_s = skew_s
        self.record: SessionIdRecord | None = None
        self.in_use: dict[bytes, int] = {}

    def issue(self, now_s: int, choice: int) -> bytes | None:
        """Ids of two bytes: collisions would show."""
        record = self.record
        if record is None:
            return None
        now_s += self.skew_s
        made = record.make_id(choice.to_bytes(8, "big"), now_s)
        if made is None or made.hex() in record.excluded:
            return None
        self.in_use[made] = now_s + record.lifetime_s
        return made

    def alive(self, now_s: int) -> dict[bytes, int]:
        return {i: expires_s for i, expires_s in self.in_use.items() if expires_s >= now_s + self.skew_s}

    def report(self, now_s: int, *, is_terse: bool) -> SessionIdReport | None:
        if self.record is None:
            return None
        groups = []
        for keys in read_group(self.record.accepts):
            left = {i: e for i, e in self.alive(now_s).items() if keys.first <= (key_of(i) or 0) <= keys.last}
            told = tuple(IdInUse(session_id=i.hex(), expires_s=e) for i, e in left.items())
            last_expiry_s = max(left.values(), default=0)
            groups.append(
                GroupReport(keys=write_group([keys]), last_expiry_s=last_expiry_s, in_use=None if is_terse else told)
            )
        return SessionIdReport(version=self.record.version, groups=tuple(groups))


class Array:
    """A controller, servers that may fall silent at any time, and load balancers that may be behind."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.now_s = START_S
        self.settings = LONG
        self.allocation = EMPTY
        self.tables = [make_table("www", EMPTY, None)] * BALANCERS
        self.servers = {n: Server(n, chance.randint(1 - CLOCK_MARGIN_S, CLOCK_MARGIN_S - 1)) for n in SERVERS}
        self.replan()
        self.everybody_is_told()

    def step(self) -> None:
        server = self.chance.choice(SERVERS)
        match self.chance.randrange(12):
            case 0:
                self.settings = self.chance.choice((LONG, SHORT))
                self.replan()
            case 1:
                self.everybody_is_told()
            case 2:
                self.servers[server].in_use.clear()
            case 3:
                self.report(server, is_terse=self.chance.random() < 0.3)
            case 4:
                self.now_s += self.chance.choice((1, 30, 60, 131, 331))
            case 5 | 6:
                self.fetch(server)
            case 7:
                self.push(self.chance.randrange(BALANCERS))
            case 8:
                self.advance()
            case _:
                self.issue(server)
        self.check()

    def replan(self) -> None:
        wanted = wanted_by_chance(self.chance)
        before = self.allocation
        self.allocation = after = replan(before, wanted)
        assert replan(after, wanted) == after
        # Fewest moves: nobody stops issuing more than it has above its share.
        renamed = [
            h for h in before.members if h not in wanted.members and set(before.members[h]) & wanted.members.keys()
        ]
        issuing, stopped = sizes(before, Stage.ISSUING), sizes(after, Stage.DRAINING)
        if not renamed and not sizes(before, Stage.DRAINING):
            assert stopped == {
                holder: size - wanted.sizes.get(holder or 0, 0)
                for holder, size in issuing.items()
                if size > wanted.sizes.get(holder or 0, 0)
            }
        # The spare is kept: it is given away only as far as there is more of it than there should be.
        free = sizes(before, Stage.SPARE).get(None, 0)
        assert sizes(after, Stage.SPARE).get(None, 0) >= min(free, wanted.spare)

    def fetch(self, server: int) -> None:
        self.allocation = grant(self.allocation, server, self.settings, self.now_s)
        text = make_record("www", self.allocation, server, self.settings).model_dump_json()
        self.servers[server].record = SessionIdRecord.model_validate_json(text)

    def issue(self, server: int) -> None:
        """Ids of two bytes, at what may be the edges of pieces: collisions would show."""
        made = self.servers[server].issue(self.now_s, self.chance.randrange(16) * STEP + self.chance.randint(0, 2))
        if made is not None:
            others = {s.number for s in self.servers.values() if made in s.alive(self.now_s)}
            assert others == {server} or others == set(SHARING)

    def report(self, server: int, *, is_terse: bool) -> None:
        report = self.servers[server].report(self.now_s, is_terse=is_terse)
        if report is not None:
            self.allocation = take_report(self.allocation, server, report, self.settings, self.now_s)

    def push(self, balancer: int) -> None:
        self.tables[balancer] = make_table("www", self.allocation, None)

    def everybody_is_told(self) -> None:
        for _ in range(2):
            self.push(0)
            self.push(1)
            self.advance()
            for server in SERVERS:
                self.fetch(server)

    def advance(self) -> None:
        self.allocation = advance(self.allocation, self.now_s, min(table.version for table in self.tables))

    def check(self) -> None:
        # Pieces are all keys, and disjoint.
        assert self.allocation.pieces[0].first == 0
        assert self.allocation.pieces[-1].last == KEYS - 1
        for before, after in pairwise(self.allocation.pieces):
            assert after.first == before.last + 1
        # Ids are found at their issuer, whichever table a load balancer has.
        for table in self.tables:
            for server in self.servers.values():
                for session_id in server.alive(self.now_s):
                    found = table.find(session_id)
                    assert found == server.number or {found, server.number} == set(SHARING)

    def end(self) -> None:
        """When all that is left to do is done, everybody has what it should have."""
        wanted = Wanted(members={1: (1,), 3: (3,)}, sizes={1: 5 * STEP, 3: 6 * STEP})
        self.allocation = replan(self.allocation, wanted)
        for _ in self._days():
            for server in (1, 3):
                self.fetch(server)
                self.report(server, is_terse=True)
            self.advance()
            for balancer in range(BALANCERS):
                self.push(balancer)
        assert sizes(self.allocation, Stage.ISSUING) == wanted.sizes
        assert sizes(self.allocation, Stage.SPARE) == {None: 5 * STEP}
        assert not self.allocation.staying

    def _days(self) -> Iterator[None]:
        for _ in range(4):
            self.now_s += LONG.lease_s + LONG.lifetime_s + 4 * CLOCK_MARGIN_S
            yield


@pytest.mark.parametrize("seed", range(40))
def test_ids_in_use_are_found_at_their_issuer(seed: int) -> None:
    array = Array(Random(seed))
    for _ in range(400):
        array.step()
    array.end()


groups = st.lists(st.integers(0, KEYS - 1), unique=True, max_size=40).map(
    lambda edges: tuple(KeyRange(*pair) for pair in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)


@given(groups, st.sampled_from([GroupKind.RANGE, GroupKind.PREFIX]), st.integers(0, KEYS - 1))
def test_a_group_is_the_same_however_it_is_written(ranges: tuple[KeyRange, ...], kind: GroupKind, key: int) -> None:
    read = read_group(write_group(ranges, kind))
    assert any(r.first <= key <= r.last for r in read) == any(r.first <= key <= r.last for r in ranges)
    assert sum(r.size for r in read) == sum(r.size for r in ranges)


@given(groups, st.binary(min_size=1, max_size=32))
def test_a_table_finds_what_a_search_through_all_groups_finds(ranges: tuple[KeyRange, ...], session_id: bytes) -> None:
    table = SessionIdTable.model_validate(
        {
            "vserver": "www",
            "version": 1,
            "groups": [{"keys": write_group([keys]), "servers": [i + 1]} for i, keys in enumerate(ranges)],
            "default_server": 999,
        }
    )
    key = key_of(session_id)
    expected = [i + 1 for i, r in enumerate(ranges) if key is not None and r.first <= key <= r.last]
    assert table.find(session_id) == (expected or [999])[0]


@given(groups, st.binary(min_size=40, max_size=40))
def test_ids_are_made_of_the_keys_that_are_issued(ranges: tuple[KeyRange, ...], random: bytes) -> None:
    record = SessionIdRecord(
        vserver="www", server=1, version=1, issues=write_group(ranges), lifetime_s=300, issue_until_s=100
    )
    made = record.make_id(random, 99.9)
    assert (made is None) == (not ranges)
    if made is not None:
        assert len(made) == 32
        assert any(r.first <= (key_of(made) or 0) <= r.last for r in ranges)
    assert record.make_id(random, 100) is None
