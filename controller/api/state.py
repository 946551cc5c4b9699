"""What is so now: health, alarms, maps, explanations, and the DLBA's status tables [B10] [O5]."""

from __future__ import annotations

import time
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from controller.agents import Agents
from controller.api import views
from controller.api.access import Admin, Operator, Viewer
from controller.api.objects import Name
from controller.api.paging import LIMIT, Limit, page
from controller.api.problems import Problem, not_found
from controller.api.recording import RecordedRoute
from controller.explain import explain
from controller.health import Health
from controller.reading import ReadFailed
from controller.repository import Repository
from controller.running import Running
from controller.southbound import NotConnected, SessionState
from controller.status_document import ServerStatus, StatusDocument
from pentaflow.addresses import IpAddress
from pentaflow.config import NodeState, Vserver

_NS_PER_S = 1_000_000_000

router = APIRouter(route_class=RecordedRoute)


class ExplanationView(BaseModel):
    """Why a client is served by the node that serves it; `since_s` is null for longer than this controller leads."""

    client: str
    vserver: str
    bucket: int
    slot: int | None
    node: str | None
    old_node: str | None
    active_switch: str | None
    reasons: list[str]
    since_s: float | None


class BucketRow(BaseModel):
    """A bucket, as the active switch counts it; `last_access_s` is null where the switch does not say."""

    bucket: int
    slot: int | None
    node: str
    old_node: str
    packets: int
    octets: int
    last_access_s: float | None


class NodeRow(BaseModel):
    """A node in the DLBA's node table; null: the node has not said."""

    node: str
    mac: str
    management: str | None
    enabled: bool
    state: str
    health: Health
    weight: int
    buckets: int
    hits: int | None
    open_connections: int | None
    response_ms: float | None
    failed: int | None
    last_sweep_s: float | None
    configuration_version: int | None = Field(description="Null: the node has no agent.")
    configuration_error: str


class ServerRow(BaseModel):
    """A server as one node sees it."""

    node: str
    vserver: str
    server: str
    address: str
    hits: int
    failures: int
    open_connections: int
    response_ms: float | None


class SummaryView(BaseModel):
    """The whole cluster in one line."""

    switches: int
    switches_ready: int
    nodes: int
    nodes_up: int
    vservers: int
    buckets: int
    buckets_split: int
    open_connections: int
    hits: int
    failed: int
    alarms: int


class AuditView(BaseModel):
    """Who asked for what, and what came of it."""

    number: int
    at_s: float
    who: str
    role: str
    address: str
    method: str
    path: str
    status: int
    detail: str


def _running(request: Request) -> Running:
    running: Running = request.app.state.running
    return running


def _find_vserver(running: Running, name: str) -> Vserver:
    found = {vserver.name: vserver for vserver in running.core.configuration.vservers}
    if name not in found:
        raise not_found("vserver", name, list(found))
    return found[name]


@router.get("/alarms", tags=["state"])
async def alarms(request: Request, _: Viewer) -> list[views.AlarmView]:
    """What is wrong now."""
    return views.alarms(_running(request))


@router.get("/vservers/{name}/buckets", tags=["vservers"])
async def buckets(request: Request, _: Viewer, name: Name) -> views.BucketsView:
    """The bucket map of a vserver."""
    running = _running(request)
    return views.buckets(running, _find_vserver(running, name))


@router.get("/explain", tags=["state"])
async def explain_client(
    request: Request,
    _: Viewer,
    vserver: Annotated[str, Query(max_length=63)],
    client: Annotated[str, Query(max_length=64, description="ADDRESS:PORT")],
) -> ExplanationView:
    """Which node serves a client now, why, and since when."""
    running = _running(request)
    found = _find_vserver(running, vserver)
    address, port = _client(client, found.vip)
    core = running.core
    hash_key = core.hash_keys.get(found.id)
    if hash_key is None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no switch has been read yet", headers={"Retry-After": "1"})
    why = explain(core.assignment, core.availability, core.history, found, hash_key, (address, port))
    return ExplanationView(
        client=client,
        vserver=vserver,
        bucket=why.bucket,
        slot=why.slot,
        node=None if why.node_id is None else views.node_name(running, why.node_id),
        old_node=None if why.old_node_id is None else views.node_name(running, why.old_node_id),
        active_switch=core.election.active(found.vip) or None,
        reasons=list(why.reasons),
        since_s=(time.monotonic_ns() - why.since_ns) / _NS_PER_S if why.since_ns else None,
    )


def _client(text: str, vip: IpAddress) -> tuple[IpAddress, int]:
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{text!r} is not ADDRESS:PORT", path="client")
    if address.version != vip.version:
        sentence = f"{address} is an IPv{address.version} address, and the VIP is {vip}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, path="client")
    return address, int(port)


@router.get("/tables/buckets", tags=["tables"])
async def bucket_table(
    request: Request,
    response: Response,
    _: Viewer,
    vserver: Annotated[str, Query(max_length=63)],
    after: Annotated[int, Query(ge=-1, description="Only buckets with a higher number.")] = -1,
    limit: Limit = LIMIT,
) -> list[BucketRow]:
    """Buckets with hits and last access, read from the active switch."""
    running = _running(request)
    found = _find_vserver(running, vserver)
    numbers = page(request, response, range(after + 1, found.buckets), lambda bucket: bucket, limit)
    session = next((s for s in running.sessions if s.name == running.core.election.active(found.vip)), None)
    try:
        hits = await session.read_hits(found.id, numbers) if session else {}
    except (NotConnected, ReadFailed) as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"switch {session.name if session else ''}: {error}") from None
    bucket_map = running.core.map
    rows = []
    for bucket in numbers:
        node_id = bucket_map.maybe_node(found.id, bucket) if found.id in bucket_map.buckets else None
        old_node_id = bucket_map.maybe_old_node(found.id, bucket)
        slot = int(bucket_map.buckets[found.id][bucket]) if node_id is not None else None
        hit = hits.get(bucket)
        rows.append(
            BucketRow(
                bucket=bucket,
                slot=slot,
                node="" if node_id is None else views.node_name(running, node_id),
                old_node="" if old_node_id is None else views.node_name(running, old_node_id),
                packets=hit.packets if hit else 0,
                octets=hit.octets if hit else 0,
                last_access_s=hit.since_ns / _NS_PER_S if hit and hit.since_ns is not None else None,
            )
        )
    return rows


@router.get("/tables/nodes", tags=["tables"])
async def node_table(request: Request, _: Viewer) -> list[NodeRow]:
    """All nodes, with what they said of themselves last."""
    running = _running(request)
    return [_node_row(view, running.core.agents) for view in views.nodes(running).values()]


@router.get("/tables/servers", tags=["tables"])
async def server_table(request: Request, _: Viewer) -> list[ServerRow]:
    """All servers, as each node sees them."""
    return [row for view in views.nodes(_running(request)).values() for row in _server_rows(view)]


@router.get("/tables/summary", tags=["tables"])
async def summary(request: Request, _: Viewer) -> SummaryView:
    """The cluster in one line."""
    running = _running(request)
    core = running.core
    rows = [_node_row(view, running.core.agents) for view in views.nodes(running).values()]
    return SummaryView(
        switches=len(core.configuration.switches),
        switches_ready=sum(session.state is SessionState.READY for session in running.sessions),
        nodes=len(rows),
        nodes_up=sum(row.health is Health.UP for row in rows),
        vservers=len(core.configuration.vservers),
        buckets=sum(vserver.buckets for vserver in core.configuration.vservers),
        buckets_split=len(core.map.splits),
        open_connections=sum(row.open_connections or 0 for row in rows),
        hits=sum(row.hits or 0 for row in rows),
        failed=sum(row.failed or 0 for row in rows),
        alarms=len(core.alarms()),
    )


@router.get("/audit", tags=["audit"])
async def audit(
    request: Request,
    response: Response,
    _: Admin,
    after: Annotated[int, Query(ge=0, description="Only entries with a higher number.")] = 0,
    limit: Limit = LIMIT,
) -> list[AuditView]:
    """Who changed, or was refused, what; oldest first."""
    repository: Repository = _running(request).repository
    found = await repository.audit(after=after, limit=limit + 1)
    items = [
        AuditView(number=number, **entry.model_dump(exclude={"schema_version"})) for number, entry in found.items()
    ]
    return page(request, response, items, lambda item: item.number, limit)


@router.delete("/nodes/{name}/penalty", status_code=HTTPStatus.NO_CONTENT, tags=["nodes"])
async def clear_penalty(request: Request, _: Operator, name: Name) -> None:
    """Forgive a node that it flapped: it may serve as soon as it answers."""
    running = _running(request)
    nodes = {node.name: node.id for node in running.core.configuration.nodes}
    if name not in nodes:
        raise not_found("node", name, list(nodes))
    running.operations.clear_penalty(name)


@router.post("/mass-failure/confirm", status_code=HTTPStatus.NO_CONTENT, tags=["state"])
async def confirm(request: Request, _: Operator) -> None:
    """Say that what failed together is really lost: the guard lets failover go on."""
    _running(request).operations.confirm_mass_failure()


def _node_row(view: views.NodeView, agents: Agents) -> NodeRow:
    report = agents.maybe_report(view.name)
    document = StatusDocument.maybe(view.status)
    servers = [server for vserver in document.vservers for server in vserver.servers] if document else []
    return NodeRow(
        node=view.name,
        mac=view.mac,
        management=view.management,
        enabled=view.intent.state is NodeState.ACTIVE and view.weight > 0,
        state=view.intent.state,
        health=view.health,
        weight=view.weight,
        buckets=view.buckets,
        hits=sum(vserver.requests for vserver in document.vservers) if document else None,
        open_connections=sum(vserver.open_connections for vserver in document.vservers) if document else None,
        response_ms=_average(servers),
        failed=sum(server.failed for server in servers) if document else None,
        last_sweep_s=view.status_age_s,
        configuration_version=report.version if report else None,
        configuration_error=report.error if report else "",
    )


def _average(servers: list[ServerStatus]) -> float | None:
    """The response time of all servers, by hits."""
    timed = [(server.average_response_ms, server.hits) for server in servers if server.average_response_ms is not None]
    hits = sum(count for _, count in timed)
    return sum(average * count for average, count in timed) / hits if hits else None


def _server_rows(view: views.NodeView) -> list[ServerRow]:
    document = StatusDocument.maybe(view.status)
    return [
        ServerRow(
            node=view.name,
            vserver=vserver.name,
            server=server.name,
            address=server.address,
            hits=server.hits,
            failures=server.failed,
            open_connections=server.open,
            response_ms=server.average_response_ms,
        )
        for vserver in (document.vservers if document else ())
        for server in vserver.servers
    ]
