"""The controller's ticket keys [P4]: who holds rotations up, who must wait, and what is an alarm."""

from __future__ import annotations

from itertools import count

import pytest

from controller.alarms import AlarmKey, AlarmKind
from controller.core import Core
from controller.events import EventKind, EventLog
from controller.health import Check, CheckKind, Health, Outcome
from controller.intents import Intent
from controller.sealing import Seal
from controller.stored_ring import decode_ring, encode_ring
from controller.ticket_keys import GRACE_S
from controller.unknown_tickets import WINDOW_NS, UnknownTickets
from pentaflow.config import Configuration, NodeState
from pentaflow.ticket_keys import KEY_BYTES, KeyRing, KeyRings, KeyState, TicketKey
from support.configurations import small_document

S = 1_000_000_000
PATH = Check(CheckKind.PATH, "s1", "web")


def configuration(*, given: bool = True) -> Configuration:
    document = small_document()
    document["controller"] = {"ticket_keys": {}} if given else {}
    return Configuration.model_validate(document)


class Leader:
    """A core whose nodes n1 and n2 answer probes, and a clock."""

    def __init__(self, *, given: bool = True) -> None:
        self.events = EventLog(epoch_offset_ns=0, listener=lambda _: None)
        self.configuration = configuration(given=given)
        self.core = Core(
            self.configuration,
            random_hash_keys={vserver.id: 1 for vserver in self.configuration.vservers},
            station_capacity=1024,
            transit_cells=1024,
            events=self.events,
            now_ns=0,
        )
        self.core.ticket_keys.begin(KeyRings(version=100), 0)
        self.now_s = 0
        self._numbers = count(1)
        for node_id in (1, 2):
            self.check(node_id)

    def check(self, node_id: int, failure: str = "", times: int = 3) -> None:
        for _ in range(times):
            self.core.availability.observe(node_id, PATH, Outcome(started_ns=self.now_ns, failure=failure), self.now_ns)

    @property
    def now_ns(self) -> int:
        return self.now_s * S

    def step(self, elapsed_s: int = 1) -> None:
        self.now_s += elapsed_s
        keys = self.core.ticket_keys
        taken = keys.acknowledged_by(self.core.key_watch.counting())
        make_key = lambda: next(self._numbers).to_bytes(4, "big") * (KEY_BYTES // 4)  # noqa: E731
        keys.adopt(keys.following(self.configuration, taken, now_s=self.now_s, make_key=make_key), self.now_ns)
        self.core.watch_ticket_keys(self.now_ns)

    def acknowledge(self, *nodes: str) -> None:
        for node in nodes:
            self.core.ticket_keys.acknowledge(node, self.core.ticket_keys.rings.version, self.now_ns)

    def active(self) -> str | None:
        key = self.core.ticket_keys.rings.rings["web"].maybe(KeyState.ACTIVE)
        return key.name if key else None

    def rotate(self, *acknowledging: str) -> str | None:
        self.core.ticket_keys.rotate("web")
        self.step()
        self.acknowledge(*acknowledging)
        self.step()
        return self.active()

    def health(self, node_id: int) -> Health:
        return self.core.health[node_id].state

    def alarms(self, kind: AlarmKind) -> dict[str, str]:
        return {alarm.key.subject: alarm.reason for alarm in self.core.alarms() if alarm.key.kind is kind}


def test_a_key_is_active_when_all_nodes_that_may_serve_have_it() -> None:
    leader = Leader()
    leader.step()
    leader.acknowledge("n1")
    leader.step()
    assert leader.active() is None
    leader.acknowledge("n2")
    leader.step()
    assert leader.active() == "00000001"
    told = [event.details for event in leader.events.after(0) if event.kind is EventKind.TICKET_KEY]
    assert told == [
        {"vserver": "web", "key": "00000001", "state": "pre-distributed"},
        {"vserver": "web", "key": "00000001", "state": "active"},
        {"vserver": "web", "key": "00000002", "state": "pre-distributed"},
    ]


def test_nodes_that_are_down_or_in_maintenance_hold_nothing_up() -> None:
    leader = Leader()
    leader.step()
    leader.acknowledge("n1")
    leader.check(2, "silent")
    leader.step()
    assert leader.active() == "00000001"
    leader.check(2)
    assert leader.rotate("n1") == "00000001"
    leader.core.set_intent(2, Intent(state=NodeState.MAINTENANCE), leader.now_ns)
    leader.step()
    assert leader.active() == "00000002"


def test_a_node_that_missed_keys_is_down_until_it_has_caught_up() -> None:
    leader = Leader()
    for _ in range(2):
        leader.step()
        leader.acknowledge("n1", "n2")
    leader.check(2, "silent")
    leader.rotate("n1")
    leader.check(2)
    assert leader.health(2) is Health.DOWN
    assert leader.core.health[2].reason == "ticket_keys check: it has not got the ticket keys that others have"
    leader.acknowledge("n2")
    leader.step()
    assert leader.health(2) is Health.UP


def test_a_node_that_cannot_be_given_keys_serves_after_a_while_and_is_an_alarm() -> None:
    leader = Leader()
    for _ in range(2):
        leader.step()
        leader.acknowledge("n1", "n2")
    leader.check(2, "silent")
    leader.rotate("n1")
    leader.check(2)
    for _ in range(10):
        leader.step()
    assert leader.health(2) is Health.DOWN
    leader.step()
    assert leader.health(2) is Health.UP
    active = leader.active()
    assert leader.rotate("n1") == active
    leader.core.ticket_keys.failed("n2", "it makes its own")
    leader.step(int(GRACE_S) + 1)
    assert leader.health(2) is Health.UP
    alarms = leader.alarms(AlarmKind.TICKET_KEYS)
    assert alarms.keys() == {"n2"}
    assert alarms["n2"].endswith("none rotate: it makes its own")
    leader.acknowledge("n2")
    leader.step()
    assert leader.alarms(AlarmKind.TICKET_KEYS) == {}
    assert leader.active() != active


def test_a_version_of_another_controller_counts_for_nothing() -> None:
    leader = Leader()
    leader.step()
    leader.core.ticket_keys.acknowledge("n1", 10_000, leader.now_ns)
    assert leader.core.ticket_keys.version_of("n1") == 0
    assert leader.core.ticket_keys.version_of("unheard of") == 0


def test_without_the_configuration_there_are_no_keys_and_nobody_waits() -> None:
    leader = Leader(given=False)
    leader.check(2, "silent")
    leader.step(int(GRACE_S) + 1)
    leader.check(2)
    assert leader.core.ticket_keys.rings.rings == {}
    assert leader.health(2) is Health.UP
    assert leader.alarms(AlarmKind.TICKET_KEYS) == {}


def status(unknown: int, resumed: int) -> dict[str, object]:
    return {"vservers": [{"name": "web", "tls_tickets": {"unknown_key": unknown, "resumed": resumed}}]}


def test_many_unknown_keys_within_a_minute_are_an_alarm() -> None:
    unknown = UnknownTickets()
    unknown.take("n1", status(1000, 0), 0)
    assert unknown.reasons() == {}
    unknown.take("n1", status(1004, 16), S)
    assert unknown.reasons() == {}
    unknown.take("n1", status(1005, 16), 2 * S)
    said = {"n1": "vserver web: 5 of 21 tickets within a minute have unknown keys"}
    assert unknown.reasons() == said
    unknown.take("n1", {}, 3 * S)
    assert unknown.reasons() == said
    unknown.take("n1", status(1005, 16), 3 * S + WINDOW_NS)
    assert unknown.reasons() == {}
    unknown.take("n1", status(900, 0), 4 * S + WINDOW_NS)  # it was started again
    assert unknown.reasons() == {}
    unknown.take("n1", status(990, 0), 5 * S + WINDOW_NS)
    assert unknown.reasons().keys() == {"n1"}
    unknown.keep({"n2"})
    assert unknown.reasons() == {}


@pytest.mark.parametrize(
    "bad",
    [
        {"vservers": 1},
        {"vservers": [1, {"tls_tickets": {"unknown_key": 99, "resumed": 0}}]},
        {"vservers": [{"name": "web", "tls_tickets": {"unknown_key": "99", "resumed": 0}}]},
        {"vservers": [{"name": ["web"], "tls_tickets": {"unknown_key": 99, "resumed": 0}}]},
    ],
)
def test_what_is_no_status_says_nothing_of_tickets(bad: dict[str, object]) -> None:
    unknown = UnknownTickets()
    for at_s in (0, 1):
        unknown.take("n1", bad, at_s * S)
    assert unknown.reasons() == {}


def test_an_alarm_says_which_node_is_shown_unknown_keys() -> None:
    leader = Leader()
    for unknown, at_s in ((0, 1), (50, 2)):
        leader.core.key_watch.unknown_tickets.take("n1", status(unknown, 0), at_s * S)
    leader.step()
    assert AlarmKey(AlarmKind.UNKNOWN_TICKETS, "n1") in {alarm.key for alarm in leader.core.alarms()}


def test_rings_are_sealed_and_opened() -> None:
    key = TicketKey(secret=bytes(range(KEY_BYTES)), state=KeyState.RETIRING, since_s=1.5, version=3, unused_since_s=2.5)
    ring = KeyRing(keys=(key,), is_wanted=True)
    assert decode_ring(encode_ring(ring)) == ring
    seal = Seal(b"s" * 16, "ticket keys", lambda size: b"n" * size)
    sealed = seal.close(encode_ring(ring), "web")
    assert key.secret.hex().encode() not in sealed
    opened = seal.maybe_open(sealed, "web")
    assert opened is not None
    assert decode_ring(opened) == ring
    assert seal.maybe_open(sealed, "other") is None
    assert Seal(b"t" * 16, "ticket keys", lambda size: b"n" * size).maybe_open(sealed, "web") is None
    assert Seal(b"s" * 16, "other", lambda size: b"n" * size).maybe_open(sealed, "web") is None
    for end in (0, 5, 12, 20, len(sealed) - 1):
        assert seal.maybe_open(sealed[:end], "web") is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"keys": [{"secret": "00"}], "is_wanted": false}'])
def test_a_ring_that_makes_no_sense_is_none(content: bytes) -> None:
    assert decode_ring(content) is None
