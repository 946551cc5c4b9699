"""What operators may ask for (shell): checked, kept in the store, then carried out, one after the other [O1] [O2] [B9].

What is in force is what the store says: a change is written there first, under this controller's epoch, so that one
that no longer leads changes nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from controller.changeover import check_changeover
from controller.changes import Changes
from controller.core import Core
from controller.intents import Intent
from controller.plan import Plan
from controller.repository import Repository
from pentaflow.config import Configuration, NodeState
from pentaflow.errors import ConfigurationError
from pentaflow.misplaced import nearest
from pentaflow.parsing import parse

PLANS_KEPT = 100
_PLACE = "configuration"
_MS_PER_S = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A configuration version: its number, text and meaning."""

    number: int
    text: str
    configuration: Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that may be planned before it is made.

    Attributes:
        configuration: the text of a new configuration; None: the one in force, with `weights`.
        weights: node name → weight, to be written into the configuration.
        intents: node name → state.
    """

    configuration: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    intents: Mapping[str, NodeState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """A change, what it would move, and what that was computed from.

    Attributes:
        id: names it.
        change: what was asked for.
        base: the configuration version that it was made for.
        target: the configuration that it leads to; None: the one in force.
        plan: the moves.
        made_at_s: when, seconds since 1970.
    """

    id: str
    change: Change
    base: int
    target: InForce | None
    plan: Plan
    made_at_s: float


class StalePlan(Exception):
    """A plan is no longer what its change would do; the sentence says what has changed."""


class Operations:
    """Carries out what operators ask for."""

    def __init__(
        self,
        core: Core,
        repository: Repository,
        in_force: InForce,
        *,
        base: Path,
        check: Callable[[Configuration], None],
        dispatch: Callable[[Changes | None], None],
        enforce: Callable[[Configuration], None],
    ) -> None:
        """
        Args:
            core: decides.
            repository: keeps.
            in_force: what the core runs.
            base: folder that relative paths in configurations are taken from.
            check: refuses, by ConfigurationError, a configuration that the pipeline has no room for.
            dispatch: hands changes to switches.
            enforce: makes core and shells run another configuration.
        """
        self.in_force = in_force
        self.changed = asyncio.Event()
        """Set when another configuration is in force; then there is a new one of these."""
        self._core = core
        self._repository = repository
        self._base = base
        self._check = check
        self._dispatch = dispatch
        self._enforce_configuration = enforce
        self._turn = asyncio.Lock()
        self._plans: OrderedDict[str, PlannedChange] = OrderedDict()
        self._expect_of_agents()

    # Configuration.

    def parse(self, text: str) -> Configuration:
        """Read and check a configuration as `push` does.

        Raises:
            ConfigurationError: it is wrong, needs more than the pipeline holds, or may not follow the one in force.
        """
        configuration = parse(text, _PLACE, base=self._base)
        self._check(configuration)
        found = self._core.map
        check_changeover(self.in_force.configuration, configuration, found.node_loads(), found.keeping)
        return configuration

    async def push(self, text: str, *, who: str, comment: str, allow: Callable[[int], None]) -> InForce:
        """Put a configuration in force; one that is in force already is left alone.

        Args:
            text: YAML.
            who: the operator.
            comment: the operator's own words.
            allow: raises if the version that is in force, its argument, is not the one to be replaced.

        Raises:
            ConfigurationError: nothing was changed.
            StoreUnavailable, Fenced: likewise.
        """
        async with self._turn:
            allow(self.in_force.number)
            return await self._push(text, who, comment)

    async def _push(self, text: str, who: str, comment: str) -> InForce:
        configuration = self.parse(text)
        if text == self.in_force.text:
            return self.in_force
        version = await self._repository.push(
            text, who=who, comment=comment, at_s=time.time(), expected=await self._revision()
        )
        self._enforce(InForce(number=version.number, text=text, configuration=configuration))
        return self.in_force

    async def _revision(self) -> int:
        current = await self._repository.current()
        return current[1] if current else 0

    async def roll_back(self, number: int | None, *, who: str, allow: Callable[[int], None]) -> InForce:
        """Put a version in force again: the one that was before the present one, or the one that is named.

        Raises:
            KeyError: there is no such version, or none was before.
            ConfigurationError: this controller can't run it; nothing was changed.
        """
        async with self._turn:
            allow(self.in_force.number)
            if number is None:
                current = await self._repository.current()
                number = current[0].before if current else 0
            text = await self._repository.text(number)
            if text is None:
                raise KeyError(number)
            configuration = self.parse(text)
            await self._repository.select(number, who=who, at_s=time.time(), expected=await self._revision())
            self._enforce(InForce(number=number, text=text, configuration=configuration))
            return self.in_force

    async def edit(
        self, group: str, name: str, item: Mapping[str, Any] | None, *, who: str, allow: Callable[[int], None]
    ) -> InForce:
        """Put one object of the configuration, or remove it (None). The text is written anew: comments are lost.

        Raises:
            KeyError: there is nothing to remove.
            ConfigurationError: nothing was changed.
        """
        async with self._turn:
            allow(self.in_force.number)
            document = yaml.safe_load(self.in_force.text)
            items = document.setdefault(group, [])
            place = next((i for i, found in enumerate(items) if found.get("name") == name), None)
            if item is not None and place is None:
                items.append(dict(item))
            elif item is not None and place is not None:
                items[place] = dict(item)
            elif place is not None:
                del items[place]
            else:
                raise KeyError(name)
            verb = "remove" if item is None else "put"
            return await self._push(_dump(document), who, f"{verb} {group}/{name}")

    def _enforce(self, wanted: InForce) -> None:
        self.in_force = wanted
        self._enforce_configuration(wanted.configuration)
        self._expect_of_agents()
        self.changed.set()
        self.changed = asyncio.Event()

    def _expect_of_agents(self) -> None:
        names = {node.name for node in self.in_force.configuration.nodes}
        self._core.agents.enforce(self.in_force.number, names, time.monotonic_ns())

    # Nodes.

    async def set_intent(
        self, name: str, state: NodeState, *, deadline_s: float | None, reason: str, who: str
    ) -> Intent:
        """Intend something else with a node than the configuration says.

        Args:
            name: of the node.
            state: the intent.
            deadline_s: seconds from now on after which a drain is forced; None: as configured.
            reason: the operator's own words.
            who: the operator.

        Raises:
            KeyError: there is no such node.
        """
        async with self._turn:
            node_id = self._node_id(name)
            intent = self._intent(state, deadline_s=deadline_s, reason=reason, who=who)
            await self._repository.set_intent(name, intent)
            self._dispatch(self._core.set_intent(node_id, intent, time.monotonic_ns()))
            return intent

    async def clear_intent(self, name: str) -> Intent:
        """Back to the configured state; KeyError: there is no such node."""
        async with self._turn:
            node_id = self._node_id(name)
            await self._repository.set_intent(name, None)
            self._dispatch(self._core.clear_intent(node_id, time.monotonic_ns()))
            return self._core.availability.intents.of(node_id)

    def clear_penalty(self, name: str) -> None:
        """Forgive a node that it flapped; KeyError: there is no such node."""
        self._dispatch(self._core.clear_penalty(self._node_id(name), time.monotonic_ns()))

    def confirm_mass_failure(self) -> None:
        """What failed together is really lost: let failover go on."""
        self._dispatch(self._core.confirm_mass_failure(time.monotonic_ns()))

    def _intent(self, state: NodeState, *, deadline_s: float | None, reason: str, who: str) -> Intent:
        now_ms = int(time.time() * _MS_PER_S)
        if deadline_s is None:
            deadline_s = self.in_force.configuration.controller.moves.drain_deadline_s
        deadline_ms = None if state is NodeState.ACTIVE else now_ms + int(deadline_s * _MS_PER_S)
        return Intent(state=state, since_ms=now_ms, deadline_ms=deadline_ms, who=who, reason=reason)

    def _node_id(self, name: str) -> int:
        for node in self.in_force.configuration.nodes:
            if node.name == name:
                return node.id
        raise KeyError(name)

    # Plans.

    def plan(self, change: Change) -> PlannedChange:
        """What a change would move.

        Raises:
            ConfigurationError: the change is wrong.
        """
        target = self._target(change)
        planned = PlannedChange(
            id=secrets.token_hex(8),
            change=change,
            base=self.in_force.number,
            target=target,
            plan=self._moves(change, target),
            made_at_s=time.time(),
        )
        self._plans[planned.id] = planned
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return planned

    def planned(self, plan_id: str) -> PlannedChange:
        """A plan that was made; KeyError: there is none, or it was long ago."""
        return self._plans[plan_id]

    async def apply(self, plan_id: str, *, who: str) -> PlannedChange:
        """Make the change of a plan, if it would still do what the plan says.

        Raises:
            KeyError: there is no such plan.
            StalePlan: nothing was changed.
        """
        async with self._turn:
            planned = self._plans[plan_id]
            change, target = planned.change, planned.target
            if planned.base != self.in_force.number:
                raise StalePlan(f"it was made for configuration {planned.base}, {self.in_force.number} is in force")
            now = self._moves(change, target)
            if not np.array_equal(now.moves, planned.plan.moves):
                raise StalePlan(f"it moves {len(planned.plan)} buckets, the change would move {len(now)} others now")
            if target is not None:
                await self._push(target.text, who, f"plan {plan_id}")
            for name, state in change.intents.items():
                intent = self._intent(state, deadline_s=None, reason=f"plan {plan_id}", who=who)
                await self._repository.set_intent(name, intent)
                self._dispatch(self._core.set_intent(self._node_id(name), intent, time.monotonic_ns()))
            del self._plans[plan_id]
            return planned

    def _target(self, change: Change) -> InForce | None:
        if change.configuration is None and not change.weights:
            return None
        text = change.configuration
        if text is None:
            document = yaml.safe_load(self.in_force.text)
            names = [node["name"] for node in document.get("nodes", [])]
            for name, weight in change.weights.items():
                if name not in names:
                    raise ConfigurationError(f"weights.{name}", f"no node {name!r}{nearest(name, names)}")
                document["nodes"][names.index(name)]["weight"] = weight
            text = _dump(document)
        return InForce(number=self.in_force.number + 1, text=text, configuration=self.parse(text))

    def _moves(self, change: Change, target: InForce | None) -> Plan:
        configuration = target.configuration if target else self.in_force.configuration
        ids = {node.name: node.id for node in configuration.nodes}
        for name in change.intents:
            if name not in ids:
                raise ConfigurationError(f"intents.{name}", f"no node {name!r}{nearest(name, list(ids))}")
        return self._core.plan(configuration, {ids[name]: state for name, state in change.intents.items()})


def _dump(document: Any) -> str:
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    except RecursionError:
        raise ConfigurationError(_PLACE, "nested too deeply") from None
