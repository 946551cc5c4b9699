"""Ticket keys that nodes get from the controller [P4]: what they are called, how old they are, who has them."""

from __future__ import annotations

import time
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from controller.api.access import Operator, Viewer
from controller.api.objects import Name
from controller.api.problems import Problem, not_found
from controller.api.recording import RecordedRoute
from controller.running import Running
from pentaflow.modes import NodeKind
from pentaflow.ticket_keys import KeyRing, KeyState

router = APIRouter(route_class=RecordedRoute, tags=["ticket keys"])

OFF = "controller.ticket_keys is not configured: nodes make their own"


class TicketKeyView(BaseModel):
    """A key: the first four octets of the name that its tickets carry, and for how long it has been in this state."""

    name: str
    state: KeyState
    age_s: float


class TicketKeyRingView(BaseModel):
    """The keys of the vserver of this name: the active one, the next one, then retiring ones, newest first."""

    name: str
    rotation_wanted: bool
    keys: list[TicketKeyView]


class KeyHolderView(BaseModel):
    """A node: which version it has said it has (0: none), and whether it may serve now, so that keys wait for it."""

    node: str
    version: int
    current: bool
    counts: bool


class TicketKeysView(BaseModel):
    """What is handed out, and who has it; `kept`: whether it is in the store, sealed."""

    version: int = Field(description="0: nodes make their own keys.")
    kept: bool
    vservers: list[TicketKeyRingView]
    nodes: list[KeyHolderView]


@router.get("/ticket-keys")
async def ticket_keys(request: Request, _: Viewer) -> TicketKeysView:
    """The ticket keys of all vservers."""
    running: Running = request.app.state.running
    keys, given = running.core.ticket_keys, running.core.configuration.controller.ticket_keys
    if given is None:
        return TicketKeysView(version=0, kept=False, vservers=[], nodes=[])
    counting = running.core.key_watch.counting()
    return TicketKeysView(
        version=keys.rings.version,
        kept=given.secret_file is not None,
        vservers=[_view(vserver, ring) for vserver, ring in sorted(keys.rings.rings.items())],
        nodes=[
            KeyHolderView(
                node=node.name,
                version=keys.version_of(node.name),
                current=keys.is_current(node.name),
                counts=node.name in counting,
            )
            for node in running.core.configuration.nodes
            if node.kind is NodeKind.TLS
        ],
    )


@router.post("/ticket-keys/{name}/rotate", status_code=HTTPStatus.ACCEPTED)
async def rotate(request: Request, _: Operator, name: Name) -> TicketKeyRingView:
    """Have the next key of a vserver take over as soon as all nodes that serve have it."""
    running: Running = request.app.state.running
    keys = running.core.ticket_keys
    if running.core.configuration.controller.ticket_keys is None:
        raise Problem(HTTPStatus.CONFLICT, OFF)
    ring = keys.rings.rings.get(name)
    if ring is None:
        raise not_found("vserver with ticket keys", name, list(keys.rings.rings))
    if ring.is_full:
        raise Problem(HTTPStatus.CONFLICT, f"vserver {name} has {len(ring.keys)} keys: one must be gone first")
    keys.rotate(name)
    return _view(name, keys.rings.rings[name])


def _view(vserver: str, ring: KeyRing) -> TicketKeyRingView:
    now_s = time.time()
    return TicketKeyRingView(
        name=vserver,
        rotation_wanted=ring.is_wanted,
        keys=[
            TicketKeyView(name=key.name, state=key.state, age_s=round(max(0.0, now_s - key.since_s), 3))
            for key in ring.keys
        ],
    )
