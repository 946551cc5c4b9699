"""TLS session ids [P6]: who makes which, what a re-plan would do, and, for servers, their records and reports."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from controller.api.access import Operator, Role, Viewer, needs
from controller.api.objects import Name
from controller.api.problems import Problem, not_found
from controller.api.recording import RecordedRoute
from controller.running import Running
from controller.session_ids.allocation import Allocation, Piece, Stage
from controller.session_ids.distribution import IdPlan, Ranged, StaleIdPlan
from pentaflow.mutual import maybe_peer_names
from pentaflow.session_ids import SessionIdRecord, SessionIdReport, SessionIdTable, write_group

router = APIRouter(prefix="/session-ids", route_class=RecordedRoute, tags=["session ids"])
servers_router = APIRouter(prefix="/session-ids", tags=["session ids"])


class IdGroupView(BaseModel):
    """Neighbouring keys at one stage; `ends_s`: when the last id of a draining group can expire, since 1970."""

    keys: str
    size: int
    stage: Stage
    server: str
    heir: str
    ends_s: int | None


class SessionIdsView(BaseModel):
    """A vserver's session ids.

    Attributes:
        exceptions: how many ids stay with servers that their groups have left.
        behind: nodes that may serve and do not go by this version's table yet.
        is_as_configured: whether a re-plan would change nothing.
    """

    vserver: str
    version: int
    behind: list[str]
    is_as_configured: bool
    exceptions: int
    groups: list[IdGroupView]


class IdPlanView(BaseModel):
    """A re-plan: how many keys their holders would stop issuing, and what is allocated before and after that."""

    id: str
    vserver: str
    moves: int
    before: list[IdGroupView]
    after: list[IdGroupView]


@router.get("")
async def list_session_ids(request: Request, _: Viewer) -> list[SessionIdsView]:
    """All vservers whose session ids are allocated."""
    running: Running = request.app.state.running
    return [_view(running, ranged) for _, ranged in sorted(running.session_ids.ranged().items())]


@router.get("/{name}")
async def get_table(request: Request, _: Viewer, name: Name) -> SessionIdTable:
    """What load balancers know of a vserver."""
    return _running(request).session_ids.table(_find(request, name))


@router.post("/{name}/plan")
async def plan(request: Request, _: Operator, name: Name) -> IdPlanView:
    """What would be done to have what the configuration asks for."""
    ranged = _find(request, name)
    return _plan_view(_running(request).session_ids.plan(ranged), ranged)


@router.post("/{name}/plans/{plan_id}/apply")
async def apply(request: Request, _: Operator, name: Name, plan_id: str) -> IdPlanView:
    """Do what a plan says, if a re-plan would still do that."""
    ranged = _find(request, name)
    try:
        return _plan_view(await _running(request).session_ids.apply(ranged, plan_id), ranged)
    except StaleIdPlan:
        raise Problem(HTTPStatus.CONFLICT, "a re-plan would do something else by now: plan again") from None


_bearer = HTTPBearer(auto_error=False)
_needs_operator = needs(Role.OPERATOR)


def _server(
    request: Request,
    name: Name,
    server: Name,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> tuple[Ranged, int]:
    """The server that asks: by a certificate of `controller.agents_ca` with its name, or for it an operator.

    Raises:
        Problem: it is somebody else, or there is no such server.
    """
    if server not in (maybe_peer_names(request.scope) or ()):
        _needs_operator(request, credentials)
    ranged = _find(request, name)
    ids = {found.name: found.id for found in ranged.pool.servers}
    if server not in ids:
        raise not_found(f"server of pool {ranged.pool.name}", server, list(ids))
    return ranged, ids[server]


Asking = Annotated[tuple[Ranged, int], Depends(_server)]


@servers_router.get("/{name}/{server}")
async def get_record(request: Request, response: Response, asking: Asking) -> SessionIdRecord:
    """What a server is to know; with it, it may issue ids for another while."""
    response.headers["Cache-Control"] = "no-store"
    return await _running(request).session_ids.record(*asking)


@servers_router.put("/{name}/{server}/report", status_code=HTTPStatus.NO_CONTENT)
async def put_report(request: Request, asking: Asking, body: SessionIdReport) -> None:
    """What is left of the ids that a server no longer issues."""
    await _running(request).session_ids.report(*asking, body)


def _running(request: Request) -> Running:
    running: Running = request.app.state.running
    return running


def _find(request: Request, name: str) -> Ranged:
    found = _running(request).session_ids.ranged()
    if name not in found:
        raise not_found("vserver with session ids", name, list(found))
    return found[name]


def _view(running: Running, ranged: Ranged) -> SessionIdsView:
    name, found = ranged.vserver.name, running.session_ids
    allocation = found.allocation(name)
    return SessionIdsView(
        vserver=name,
        version=allocation.version,
        behind=found.behind(name),
        is_as_configured=found.plan(ranged).after == allocation,
        exceptions=len(allocation.staying),
        groups=_groups(allocation, ranged),
    )


def _plan_view(found: IdPlan, ranged: Ranged) -> IdPlanView:
    return IdPlanView(
        id=found.id,
        vserver=ranged.vserver.name,
        moves=found.moves,
        before=_groups(found.before, ranged),
        after=_groups(found.after, ranged),
    )


def _groups(allocation: Allocation, ranged: Ranged) -> list[IdGroupView]:
    def holders(piece: Piece) -> str:
        return ", ".join(map(ranged.name_of, allocation.members[piece.holder])) if piece.holder is not None else ""

    return [
        IdGroupView(
            keys=write_group([piece.keys]),
            size=piece.size,
            stage=piece.stage,
            server=holders(piece),
            heir=ranged.name_of(piece.heir),
            ends_s=piece.ends_s if piece.stage is Stage.DRAINING else None,
        )
        for piece in allocation.pieces
    ]
