"""Plans [B9]: what a change would move, before it is made, and the change itself if it still would."""

from __future__ import annotations

import time
from collections import defaultdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.api.access import Operator, Role, Viewer
from controller.api.paging import LIMIT, Limit, page
from controller.api.problems import Problem
from controller.api.recording import RecordedRoute
from controller.core import Core
from controller.operations import Change, Operations, PlannedChange, StalePlan
from pentaflow.config import NodeState

router = APIRouter(prefix="/plans", route_class=RecordedRoute, tags=["plans"])

Weight = Annotated[int, Field(ge=0, le=1000)]


class PlanRequest(BaseModel):
    """A change: a new configuration or other weights, and what is intended with nodes."""

    model_config = ConfigDict(extra="forbid")

    configuration: Annotated[str | None, Field(max_length=1 << 20, description="YAML")] = None
    weights: Annotated[dict[str, Weight], Field(max_length=4096)] = {}
    intents: Annotated[dict[str, NodeState], Field(max_length=4096)] = {}


class FlowView(BaseModel):
    """Buckets of one vserver that go from one node to another."""

    vserver: str
    from_node: str
    to_node: str
    buckets: int


class PlanView(BaseModel):
    """A plan.

    Attributes:
        connections_at_risk: open now in the buckets that move, as far as nodes have said; null: they have not. They
            are broken only if they are still open at the deadline of the move.
    """

    id: str
    made_at_s: float
    configuration_version: int
    map_version: int
    buckets: int
    waves: int
    connections_at_risk: int | None
    nodes_before: dict[str, int]
    nodes_after: dict[str, int]
    flows: list[FlowView]


class MoveView(BaseModel):
    """One bucket that moves, and the wave that it does so in, from 0."""

    vserver: str
    bucket: int
    from_node: str
    to_node: str
    wave: int


@router.post("", status_code=HTTPStatus.CREATED)
async def make_plan(
    request: Request, response: Response, _: Operator, body: Annotated[PlanRequest, Body()]
) -> PlanView:
    """Plan a change. Nothing is changed by it."""
    operations: Operations = request.app.state.running.operations
    if body.configuration is not None and body.weights:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "weights are in the configuration, when one is given", path="weights"
        )
    change = Change(configuration=body.configuration, weights=body.weights, intents=body.intents)
    planned = operations.plan(change)
    await request.app.state.running.array.ask_connections(planned.plan.losses())
    response.headers["Location"] = f"/plans/{planned.id}"
    return _view(request.app.state.running.core, planned)


@router.get("/{plan_id}")
async def get_plan(request: Request, _: Viewer, plan_id: str) -> PlanView:
    """A plan, while it is kept."""
    return _view(request.app.state.running.core, _find(request, plan_id))


@router.get("/{plan_id}/moves")
async def get_moves(
    request: Request,
    response: Response,
    _: Viewer,
    plan_id: str,
    after: Annotated[int, Query(ge=0, description="So many moves are left out.")] = 0,
    limit: Limit = LIMIT,
) -> list[MoveView]:
    """The moves of a plan, wave after wave."""
    core: Core = request.app.state.running.core
    planned = _find(request, plan_id)
    nodes, vservers = _node_names(core, planned), _vserver_names(core, planned)
    moves = [
        (number, move) for number, move in enumerate(planned.plan.slice(after, after + limit + 1), start=after + 1)
    ]
    return [
        MoveView(
            vserver=vservers[move.vserver_id],
            bucket=move.bucket,
            from_node=nodes[move.from_node],
            to_node=nodes[move.to_node],
            wave=move.wave,
        )
        for _, move in page(request, response, moves, lambda item: item[0], limit)
    ]


@router.post("/{plan_id}/apply")
async def apply_plan(request: Request, identity: Operator, plan_id: str) -> PlanView:
    """Make the change, if it would still do what the plan says; a new configuration needs an admin."""
    operations: Operations = request.app.state.running.operations
    planned = _find(request, plan_id)
    if planned.change.configuration is not None and not identity.role.includes(Role.ADMIN):
        raise Problem(HTTPStatus.FORBIDDEN, f"{identity.name} is {identity.role}, a new configuration needs admin")
    view = _view(request.app.state.running.core, planned)
    try:
        await operations.apply(plan_id, who=identity.name)
    except StalePlan as error:
        raise Problem(HTTPStatus.CONFLICT, f"the plan is stale: {error}") from None
    except KeyError:
        raise _no_plan(plan_id) from None
    return view


def _find(request: Request, plan_id: str) -> PlannedChange:
    operations: Operations = request.app.state.running.operations
    try:
        return operations.planned(plan_id)
    except KeyError:
        raise _no_plan(plan_id) from None


def _no_plan(plan_id: str) -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND, f"there is no plan {plan_id!r}; plans are kept until they are applied, 100 at most"
    )


def _node_names(core: Core, planned: PlannedChange) -> defaultdict[int, str]:
    names: defaultdict[int, str] = defaultdict(lambda: "")
    for configuration in (core.configuration, planned.target.configuration if planned.target else core.configuration):
        names.update({node.id: node.name for node in configuration.nodes})
    return names


def _vserver_names(core: Core, planned: PlannedChange) -> dict[int, str]:
    names = {vserver.id: vserver.name for vserver in core.configuration.vservers}
    if planned.target:
        names |= {vserver.id: vserver.name for vserver in planned.target.configuration.vservers}
    return names


def _view(core: Core, planned: PlannedChange) -> PlanView:
    plan = planned.plan
    nodes, vservers = _node_names(core, planned), _vserver_names(core, planned)
    before = core.map.node_loads()
    after = before + plan.gains()
    after.subtract(plan.losses())
    return PlanView(
        id=planned.id,
        made_at_s=planned.made_at_s,
        configuration_version=planned.base,
        map_version=plan.map_version,
        buckets=len(plan),
        waves=plan.waves,
        connections_at_risk=core.connections_at_risk(plan, time.monotonic_ns()),
        nodes_before={name: before[node_id] for node_id, name in nodes.items()},
        nodes_after={name: after[node_id] for node_id, name in nodes.items()},
        flows=[
            FlowView(vserver=vservers[vserver], from_node=nodes[source], to_node=nodes[target], buckets=count)
            for (vserver, source, target), count in plan.flows().items()
        ],
    )
