"""Intent: the configured state, what operators put over it, and who serves because of it."""

from __future__ import annotations

import pytest

from controller.health import Health
from controller.intents import Intent, Intents, serving_weights, survivors
from pentaflow.config import Node, NodeState

ACTIVE, DRAINING, MAINTENANCE = NodeState
UP, DOWN, UNKNOWN = Health


def make_nodes(*weights: int, state: NodeState = ACTIVE) -> dict[int, Node]:
    return {
        i: Node.model_validate(
            {
                "name": f"n{i}",
                "id": i,
                "mac": f"02:00:00:00:00:{i:02x}",
                "ports": {"s1": i},
                "management": "10.0.0.1:9100",
                "weight": weight,
                "state": state,
            }
        )
        for i, weight in enumerate(weights, 1)
    }


def by_operator(state: NodeState, deadline_ms: int | None = None) -> Intent:
    return Intent(state=state, since_ms=5, who="alice", reason="new fan", deadline_ms=deadline_ms)


def test_an_operator_overrides_the_configuration_until_it_is_cleared() -> None:
    intents = Intents(make_nodes(1, 1, state=DRAINING).values())
    assert intents.of(1) == Intent(state=DRAINING)
    assert intents.of(1).is_configured
    change = intents.set(1, by_operator(MAINTENANCE))
    assert change is not None
    assert (change.before.state, change.after.state, change.after.who) == (DRAINING, MAINTENANCE, "alice")
    assert intents.states() == {1: MAINTENANCE, 2: DRAINING}
    assert intents.overrides() == {1: by_operator(MAINTENANCE)}
    change = intents.clear(1)
    assert change is not None
    assert change.after == Intent(state=DRAINING)
    assert intents.clear(1) is None


def test_the_same_intent_again_changes_nothing_but_a_new_deadline_does() -> None:
    intents = Intents(make_nodes(1).values())
    assert intents.set(1, by_operator(DRAINING))
    assert intents.set(1, by_operator(DRAINING)) is None
    assert intents.set(1, by_operator(DRAINING, deadline_ms=99)) is not None


def test_kept_overrides_of_nodes_that_are_gone_are_dropped() -> None:
    intents = Intents(make_nodes(1).values(), {1: by_operator(DRAINING), 7: by_operator(DRAINING)})
    assert intents.states() == {1: DRAINING}
    with pytest.raises(KeyError):
        intents.set(7, by_operator(DRAINING))


def test_only_active_nodes_that_are_not_down_get_buckets() -> None:
    nodes = make_nodes(3, 2, 1, 5, 4)
    intents = {1: ACTIVE, 2: DRAINING, 3: MAINTENANCE, 4: ACTIVE, 5: ACTIVE}
    health = {1: UP, 2: UP, 3: DOWN, 4: DOWN, 5: UNKNOWN}
    assert serving_weights(nodes, intents, health) == {1: 3, 2: 0, 5: 4}


@pytest.mark.parametrize(
    ("states", "health", "answering", "expected"),
    [
        ((ACTIVE, ACTIVE, DRAINING), (UP, UNKNOWN, UP), {1, 3}, {1: 2}),
        ((ACTIVE, ACTIVE, DRAINING), (DOWN, UNKNOWN, UP), {3}, {2: 1}),
        ((ACTIVE, DRAINING, MAINTENANCE), (DOWN, UP, UP), {2, 3}, {2: 1}),
        ((ACTIVE, ACTIVE, MAINTENANCE), (DOWN, DOWN, UP), {1, 3}, {1: 2}),
        ((ACTIVE, ACTIVE, MAINTENANCE), (DOWN, DOWN, UP), {3}, {3: 4}),
        ((ACTIVE, ACTIVE, MAINTENANCE), (DOWN, DOWN, UNKNOWN), set(), {}),
    ],
    ids=[
        "in service and up",
        "not known to be down",
        "draining before nothing",
        "held down, but it answers",
        "maintenance last",
        "nobody",
    ],
)
def test_who_takes_over(
    states: tuple[NodeState, ...], health: tuple[Health, ...], answering: set[int], expected: dict[int, int]
) -> None:
    nodes = make_nodes(2, 1, 4)
    found = survivors(nodes, dict(zip(nodes, states, strict=True)), dict(zip(nodes, health, strict=True)), answering)
    assert found == expected


def test_a_spare_of_weight_0_takes_over_with_weight_1() -> None:
    nodes = make_nodes(2, 0)
    assert survivors(nodes, {1: ACTIVE, 2: ACTIVE}, {1: DOWN, 2: UP}, {2}) == {2: 1}
