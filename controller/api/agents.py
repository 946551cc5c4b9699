"""For nodes' agents [N9]: their part of the configuration, ticket keys [P4], and their reports. Over mutual TLS only.

Not in the OpenAPI document: these are no operator's business.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.agents import AgentReport
from controller.api.problems import Problem
from controller.running import Running
from pentaflow.files import read_node_configuration
from pentaflow.mutual import maybe_peer_names

MAX_WAIT_S = 60.0
MAX_ERROR = 1000

router = APIRouter(prefix="/agents", include_in_schema=False)


class ReportRequest(BaseModel):
    """What an agent reports; see `controller.agents.AgentReport`."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=0)]
    error: Annotated[str, Field(max_length=MAX_ERROR)] = ""


def _agent(request: Request, name: Annotated[str, Path()]) -> str:
    """The name of the node whose agent asks.

    Raises:
        Problem: its certificate is not that of the node, or there is no such node.
    """
    names = maybe_peer_names(request.scope)
    if not names:
        raise Problem(HTTPStatus.UNAUTHORIZED, "a client certificate of controller.agents_ca is needed")
    if name not in names:
        shown = ", ".join(sorted(names))
        raise Problem(HTTPStatus.FORBIDDEN, f"the certificate is that of {shown}, not of node {name}")
    running: Running = request.app.state.running
    if name not in {node.name for node in running.core.configuration.nodes}:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no node {name!r}")
    return name


Agent = Annotated[str, Depends(_agent)]


@router.get("/{name}/configuration")
async def configuration(
    request: Request,
    name: Agent,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The node's part of the version in force, with the files that it names; 304 when nothing else comes in time.

    Its entity tag is another one when a file is: certificates that were renewed are found at the next request.
    """
    running: Running = request.app.state.running
    deadline = time.monotonic() + wait_s
    while True:
        in_force, changed = running.operations.in_force, running.operations.changed
        part = await asyncio.to_thread(read_node_configuration, in_force.configuration, name, version=in_force.number)
        tag = f'"{part.digest()}"'
        if tag != if_none_match:
            headers = {"ETag": tag, "Cache-Control": "no-store"}
            return Response(part.model_dump_json(), media_type="application/json", headers=headers)
        try:
            await asyncio.wait_for(changed.wait(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})


@router.get("/{name}/ticket-keys")
async def ticket_keys(
    request: Request,
    name: Agent,
    acknowledged: Annotated[int, Query(ge=0, description="The version that all workers of the node have.")] = 0,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0,
) -> Response:
    """The ticket keys that the node should have; 304 when it has them, and no others come in time."""
    running: Running = request.app.state.running
    distribution = running.key_distribution
    running.core.ticket_keys.acknowledge(name, acknowledged, time.monotonic_ns())
    deadline = time.monotonic() + wait_s
    while True:
        changed, keys = distribution.changed, distribution.handed_out()
        if keys is not None and keys.version != acknowledged:
            headers = {"Cache-Control": "no-store"}
            return Response(keys.model_dump_json(), media_type="application/json", headers=headers)
        try:
            await asyncio.wait_for(changed.wait(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return Response(status_code=HTTPStatus.NOT_MODIFIED)


@router.put("/{name}/report", status_code=HTTPStatus.NO_CONTENT)
async def report(request: Request, name: Agent, body: ReportRequest) -> None:
    """The node says what it runs."""
    running: Running = request.app.state.running
    taken = AgentReport(version=body.version, error=body.error, at_ns=time.monotonic_ns())
    running.core.agents.take(name, taken)
