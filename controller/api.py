"""The REST API (shell): what the controller knows, read-only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from controller.buckets import UNASSIGNED
from controller.core import Core
from controller.health import Health
from controller.leadership import Role
from controller.southbound import SessionState, SwitchSession
from controller.status import StatusPoller
from pentaflow.config import Node, Vserver

_NS_PER_S = 1_000_000_000


class Problem(Exception):
    """Becomes an `application/problem+json` answer (RFC 9457)."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class VserverView(BaseModel):
    """A virtual server as configured, and its nodes' shares."""

    name: str
    id: int
    vip: str
    protocol: str
    port: int
    buckets: int
    hash: str
    pool: str
    node_buckets: dict[str, int]


class BucketsView(BaseModel):
    """A bucket map: `slots[b]` is the slot of bucket b, -1 if it has none yet; `slot_nodes` names each slot's node."""

    vserver: str
    version: int
    slots: list[int]
    slot_nodes: dict[int, str]
    node_buckets: dict[str, int]


class NodeView(BaseModel):
    """A node: intent (weight), what was observed, what it serves, and what it last said of itself."""

    name: str
    id: int
    weight: int
    mac: str
    ports: dict[str, int]
    management: str
    health: Health
    reason: str
    since_s: float
    slots: int
    buckets: int
    status: dict[str, Any] | None
    status_age_s: float | None


class SwitchView(BaseModel):
    """A switch and how far the controller has got with it."""

    name: str
    grpc: str
    device_id: int
    state: SessionState
    error: str
    stations: int
    priority: int
    active_for: list[str]
    unfenced_for: list[str]
    nodes_seen: list[str]


class HealthView(BaseModel):
    """Whether the controller has every switch as it should be."""

    ready: bool
    role: Role = Role.LEADER
    leader: str
    switches: dict[str, SessionState]
    nodes: dict[str, Health]


class EventView(BaseModel):
    """Something that happened: milliseconds since 1970 and on the controller's monotonic clock."""

    id: int
    kind: str
    at_ms: float
    monotonic_ms: float
    details: dict[str, str | int | float]


def create_api(core: Core, sessions: Sequence[SwitchSession], poller: StatusPoller, *, name: str) -> FastAPI:
    """The leader's application; it reads the core on each request. `name` is this controller's."""
    api = FastAPI(title="Pentaflow controller", openapi_url="/openapi.json")

    @api.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return _problem(error.status, error.detail)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @api.exception_handler(HTTPStatus.NOT_FOUND)
    async def no_such_path(request: Request, _: Exception) -> JSONResponse:
        return _problem(HTTPStatus.NOT_FOUND, f"there is nothing at {request.url.path}")

    @api.get("/vservers")
    async def vservers() -> list[VserverView]:
        return [_vserver_view(core, vserver) for vserver in core.configuration.vservers]

    @api.get("/vservers/{name}")
    async def vserver(name: str) -> VserverView:
        return _vserver_view(core, _find_vserver(core, name))

    @api.get("/vservers/{name}/buckets")
    async def buckets(name: str) -> BucketsView:
        found = _find_vserver(core, name)
        slots: list[int] = core.map.buckets[found.id].tolist() if found.id in core.map.buckets else []
        return BucketsView(
            vserver=found.name,
            version=core.map.version,
            slots=slots,
            slot_nodes={slot: _node_name(core, core.map.slots[slot]) for slot in sorted({*slots} - {UNASSIGNED})},
            node_buckets=_node_buckets(core, found),
        )

    @api.get("/nodes")
    async def nodes() -> list[NodeView]:
        loads = core.map.node_loads()
        return [_node_view(core, node, poller, loads[node.id]) for node in core.configuration.nodes]

    @api.get("/nodes/{name}")
    async def node(name: str) -> NodeView:
        for found in core.configuration.nodes:
            if found.name == name:
                return _node_view(core, found, poller, core.map.node_loads()[found.id])
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no node {name!r}")

    @api.get("/switches")
    async def switches() -> list[SwitchView]:
        return [
            SwitchView(
                name=switch.name,
                grpc=str(switch.grpc),
                device_id=switch.device_id,
                state=session.state,
                error=session.error,
                stations=len(core.stations[switch.name]),
                priority=switch.priority,
                active_for=sorted(map(str, core.election.held_by(switch.name))),
                unfenced_for=[str(s.vip) for s in core.election.standings() if switch.name in s.unfenced],
                nodes_seen=sorted(_node_name(core, node_id) for node_id in core.views.seen(switch.name)),
            )
            for switch, session in zip(core.configuration.switches, sessions, strict=True)
        ]

    @api.get("/health", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": HealthView}})
    async def health(response: Response) -> HealthView:
        ready = all(session.state is SessionState.READY for session in sessions)
        if not ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return HealthView(
            ready=ready,
            leader=name,
            switches={session.name: session.state for session in sessions},
            nodes={node.name: core.health[node.id].state for node in core.configuration.nodes},
        )

    @api.get("/events")
    async def events(after: int = 0) -> list[EventView]:
        return [
            EventView(
                id=event.id,
                kind=event.kind,
                at_ms=event.at_ms,
                monotonic_ms=event.monotonic_ms,
                details=dict(event.details),
            )
            for event in core.events.after(after)
        ]

    return api


def _problem(status: HTTPStatus, detail: str) -> JSONResponse:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def _find_vserver(core: Core, name: str) -> Vserver:
    for vserver in core.configuration.vservers:
        if vserver.name == name:
            return vserver
    raise Problem(HTTPStatus.NOT_FOUND, f"there is no vserver {name!r}")


def _node_name(core: Core, node_id: int) -> str:
    node = core.nodes.get(node_id)
    return node.name if node else f"#{node_id}"


def _node_buckets(core: Core, vserver: Vserver) -> dict[str, int]:
    holding = core.map.holding(vserver.id) if vserver.id in core.map.buckets else {}
    shares = dict.fromkeys((node.name for node in core.configuration.nodes), 0)
    return shares | {_node_name(core, node_id): count for node_id, count in holding.items()}


def _vserver_view(core: Core, vserver: Vserver) -> VserverView:
    return VserverView(
        name=vserver.name,
        id=vserver.id,
        vip=str(vserver.vip),
        protocol=vserver.protocol,
        port=vserver.port,
        buckets=vserver.buckets,
        hash=vserver.hash.name.lower(),
        pool=vserver.pool,
        node_buckets=_node_buckets(core, vserver),
    )


def _node_view(core: Core, node: Node, poller: StatusPoller, buckets: int) -> NodeView:
    health = core.health[node.id]
    status = poller.maybe_status(node.id)
    now_ns = time.monotonic_ns()
    return NodeView(
        name=node.name,
        id=node.id,
        weight=node.weight,
        mac=node.mac,
        ports=dict(node.ports),
        management=str(node.management),
        health=health.state,
        reason=health.reason,
        since_s=(now_ns - health.since_ns) / _NS_PER_S,
        slots=sum(1 for served_by in core.map.slots.values() if served_by == node.id),
        buckets=buckets,
        status=status.document if status else None,
        status_age_s=(now_ns - status.at_ns) / _NS_PER_S if status else None,
    )
