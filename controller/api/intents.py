"""What operators intend with nodes [B6]: drains, maintenance and back, and how far drains have got."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.api import views
from controller.api.access import Operator, Viewer
from controller.api.conditions import IfMatch, check, set_etag
from controller.api.objects import Name
from controller.api.problems import not_found
from controller.api.recording import RecordedRoute
from controller.intents import Intent
from controller.running import Running
from pentaflow.config import NodeState

router = APIRouter(route_class=RecordedRoute, tags=["nodes"])


class IntentRequest(BaseModel):
    """What to intend; a drain is forced after `deadline_s` seconds, by default as configured."""

    model_config = ConfigDict(extra="forbid")

    state: NodeState
    deadline_s: Annotated[float | None, Field(gt=0, le=7 * 86_400)] = None
    reason: Annotated[str, Field(max_length=500)] = ""


@router.get("/nodes/{name}/intent")
async def get_intent(request: Request, response: Response, _: Viewer, name: Name) -> views.IntentView:
    """What is intended with a node."""
    intent = _find(request, name)
    set_etag(response, _version(intent))
    return views.intent_view(intent)


@router.put("/nodes/{name}/intent")
async def set_intent(
    request: Request,
    response: Response,
    identity: Operator,
    name: Name,
    body: Annotated[IntentRequest, Body()],
    if_match: IfMatch = None,
) -> views.IntentView:
    """Drain a node, take it into maintenance, or back into service; over what the configuration says."""
    running: Running = request.app.state.running
    _check(if_match, _find(request, name), name)
    intent = await running.operations.set_intent(
        name, body.state, deadline_s=body.deadline_s, reason=body.reason, who=identity.name
    )
    set_etag(response, _version(intent))
    return views.intent_view(intent)


@router.delete("/nodes/{name}/intent")
async def clear_intent(
    request: Request, response: Response, _: Operator, name: Name, if_match: IfMatch = None
) -> views.IntentView:
    """Back to what the configuration says."""
    running: Running = request.app.state.running
    _check(if_match, _find(request, name), name)
    intent = await running.operations.clear_intent(name)
    set_etag(response, _version(intent))
    return views.intent_view(intent)


@router.get("/drains")
async def drains(request: Request, _: Viewer) -> views.MovesView:
    """Nodes that are being emptied or lose buckets, how far that is, and when it should be done."""
    return views.drains(request.app.state.running)


def _find(request: Request, name: str) -> Intent:
    running: Running = request.app.state.running
    nodes = {node.name: node.id for node in running.core.configuration.nodes}
    if name not in nodes:
        raise not_found("node", name, list(nodes))
    return running.core.availability.intents.of(nodes[name])


def _version(intent: Intent) -> str:
    return f"{intent.state}-{intent.since_ms}"


def _check(if_match: str | None, intent: Intent, name: str) -> None:
    """An intent may be set without a condition: what it is to be does not depend on what it was."""
    check(if_match or "*", _version(intent), f"the intent of node {name}")
