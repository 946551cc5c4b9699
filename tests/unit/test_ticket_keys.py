"""The ring of ticket keys of a vserver [P4]."""

from __future__ import annotations

from itertools import count

import pytest
from pydantic import ValidationError

from pentaflow.ticket_keys import (
    KEY_BYTES,
    MAX_KEYS,
    KeyRing,
    KeyRings,
    KeyState,
    Rotation,
    TicketKey,
    TicketKeySet,
    VserverKeys,
)

HOUR = 3600.0
ROTATION = {"web": Rotation(rotate_s=HOUR, lifetime_s=2 * HOUR)}
TEXT = '{{"version": {version}, "vservers": {{"web": {{"issues": true, "keys": [{key}]}}}}}}'
P, A, R = KeyState.PRE_DISTRIBUTED, KeyState.ACTIVE, KeyState.RETIRING


class Keeper:
    """Rings, a clock and a source of keys, which are 1, 2, 3."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._numbers = count(1)
        self.rings = KeyRings()

    def make_key(self) -> bytes:
        return bytes([next(self._numbers)]) * KEY_BYTES

    def step(self, elapsed_s: float, *, acknowledged: int | None = None) -> list[tuple[int, KeyState]]:
        """By default all holders have what there is."""
        self.now_s += elapsed_s
        taken = self.rings.version if acknowledged is None else acknowledged
        self.rings = self.rings.advanced(ROTATION, now_s=self.now_s, acknowledged=taken, make_key=self.make_key)
        return [(key.secret[0], key.state) for key in self.rings.rings["web"].keys]


def test_a_key_is_distributed_then_active_then_retiring_then_gone() -> None:
    keeper = Keeper()
    assert keeper.step(0) == [(1, P)]
    assert not keeper.rings.handed_out().of("web").issues
    assert keeper.step(5, acknowledged=0) == [(1, P)]
    assert keeper.step(1) == [(1, A), (2, P)]
    assert keeper.rings.handed_out().of("web") == VserverKeys(issues=True, keys=(b"\1" * 80, b"\2" * 80))
    assert keeper.step(HOUR - 1) == [(1, A), (2, P)]
    assert keeper.step(1) == [(2, A), (3, P), (1, R)]
    # Its time begins when nobody can encrypt with it any more.
    assert keeper.step(HOUR / 2, acknowledged=2) == [(2, A), (3, P), (1, R)]
    assert keeper.step(0) == [(2, A), (3, P), (1, R)]
    assert keeper.step(HOUR / 2) == [(3, A), (4, P), (2, R), (1, R)]
    assert keeper.step(HOUR - 1) == [(3, A), (4, P), (2, R), (1, R)]
    assert keeper.step(1) == [(4, A), (5, P), (3, R), (2, R), (1, R)]
    assert keeper.step(HOUR / 2) == [(4, A), (5, P), (3, R), (2, R)]


def test_a_rotation_waits_until_all_have_the_next_key() -> None:
    keeper = Keeper()
    keeper.step(0)
    keeper.step(0)
    version = keeper.rings.version
    assert keeper.step(10 * HOUR, acknowledged=version - 1) == [(1, A), (2, P)]
    assert keeper.rings.version == version
    assert keeper.step(0) == [(2, A), (3, P), (1, R)]


def test_an_operator_gets_a_rotation_at_once_and_only_one() -> None:
    keeper = Keeper()
    keeper.step(0)
    keeper.step(0)
    keeper.rings = keeper.rings.rotating("web")
    assert keeper.step(1) == [(2, A), (3, P), (1, R)]
    assert keeper.step(1) == [(2, A), (3, P), (1, R)]


def test_a_ring_is_bounded() -> None:
    keeper = Keeper()
    for _ in range(3 * MAX_KEYS):
        keeper.step(1)
        keeper.rings = keeper.rings.rotating("web")
    ring = keeper.rings.rings["web"]
    assert len(ring.keys) == MAX_KEYS
    assert ring.is_full
    assert keeper.step(2 * HOUR)[0] == (16, A)


def test_a_clock_that_was_set_back_makes_no_key_live_longer() -> None:
    keeper = Keeper()
    keeper.now_s = 100 * HOUR
    keeper.step(0)
    keeper.step(0)
    keeper.now_s = 0
    assert keeper.step(0) == [(1, A), (2, P)]
    assert keeper.step(HOUR) == [(2, A), (3, P), (1, R)]


def test_rings_begin_and_end_with_their_vservers() -> None:
    keeper = Keeper()
    first = KeyRings().begun(["a", "b"], now_s=0, make_key=keeper.make_key)
    assert [first.handed_out().of(name).issues for name in ("a", "b", "c")] == [True, True, False]
    assert first.begun(["a", "b"], now_s=1, make_key=keeper.make_key) is first
    second = first.begun(["b"], now_s=1, make_key=keeper.make_key)
    assert (second.version, list(second.rings)) == (first.version + 1, ["b"])
    assert second.rings["b"] == first.rings["b"]
    third = second.advanced({}, now_s=2, acknowledged=2, make_key=keeper.make_key)
    assert (third.version, third.rings) == (second.version + 1, {})


def test_what_is_handed_out_survives_the_way_and_hides_secrets() -> None:
    secret = bytes(range(KEY_BYTES))
    keys = TicketKeySet(version=3, vservers={"web": VserverKeys(issues=True, keys=(secret,))})
    assert TicketKeySet.model_validate_json(keys.model_dump_json()) == keys
    assert keys.names() == {"web": ["00010203"]}
    key = TicketKey(secret=secret, state=A, since_s=0, version=1)
    for shown in (repr(keys), repr(keys.of("web")), repr(key), repr(KeyRings(rings={"web": KeyRing(keys=(key,))}))):
        assert "\\x04" not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize(
    "text",
    [
        TEXT.format(version=1, key=f'"{b"secret".hex() * 13}"'),
        TEXT.format(version=1, key=""),
        TEXT.format(version=-1, key=f'"{b"s".hex() * 80}"'),
    ],
)
def test_a_wrong_document_is_refused_without_saying_what_was_in_it(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TicketKeySet.model_validate_json(text)
    assert "7365" not in str(caught.value)
    assert "737373" not in str(caught.value)
