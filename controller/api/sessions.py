"""Which server a client would get, and why [P8]: a node is asked, which knows its servers and all that binds.

Whoever has a client's cookie can pass for it, and tickets and session ids follow it about. So these come in fields of
the header: URLs are written to logs on the way, and a controller that follows repeats them.
"""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import ValidationError

from controller.api.access import Viewer
from controller.api.objects import Name
from controller.api.problems import Problem, not_found
from controller.api.recording import RecordedRoute
from controller.health import Health
from controller.running import NodeSilent, Running
from pentaflow.addresses import IpAddress
from pentaflow.config import Node, Vserver
from pentaflow.sessions import MAX_COOKIE, MAX_NAME, MAX_SESSION_ID, MAX_TICKET, SessionAnswer, SessionQuestion

router = APIRouter(route_class=RecordedRoute)


class SessionView(SessionAnswer):
    """What `node` says."""

    node: str


@router.get("/sessions/{name}", tags=["vservers"])
async def session(
    request: Request,
    _: Viewer,
    name: Name,
    client_cookie: Annotated[
        str | None, Header(max_length=MAX_COOKIE, description="Its Cookie field; the server's cookie is enough.")
    ] = None,
    client_ticket: Annotated[
        str | None, Header(max_length=3 * MAX_TICKET, description="The TLS ticket that it shows, in hexadecimal.")
    ] = None,
    client_session_id: Annotated[
        str | None,
        Header(max_length=3 * MAX_SESSION_ID, description="The id of the TLS 1.2 session that it resumes, likewise."),
    ] = None,
    client_name: Annotated[
        str | None, Query(alias="name", max_length=MAX_NAME, description="The server name that it asks for (SNI).")
    ] = None,
    client: Annotated[str | None, Query(max_length=64, description="Its address, without a port.")] = None,
    node: Annotated[str | None, Query(max_length=63, description="Whom to ask; by default the first one up.")] = None,
) -> SessionView:
    """Which server a client of a vserver would get that identifies itself like this, and why; nobody is given one."""
    running: Running = request.app.state.running
    vservers = {vserver.name: vserver for vserver in running.core.configuration.vservers}
    if name not in vservers:
        raise not_found("vserver", name, list(vservers))
    _check_proxied(vservers[name])
    question = _question(
        cookie=client_cookie,
        ticket=_octets(client_ticket, "client-ticket"),
        session_id=_octets(client_session_id, "client-session-id"),
        name=client_name,
        client=None if client is None else _address(client),
    )
    asked = _choose(running, vservers[name], node)
    try:
        answer = await running.array.ask_session(asked, name, question)
    except NodeSilent as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"node {asked.name}: {error}") from None
    return SessionView(node=asked.name, **answer.model_dump())


def _check_proxied(vserver: Vserver) -> None:
    if vserver.redirect is not None:
        sentence = f"vserver {vserver.name} redirects all clients and has no servers"
    elif not vserver.mode.is_proxied:
        sentence = f"no node chooses servers for clients of mode {vserver.mode}, which is that of {vserver.name}"
    else:
        return
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, path="vserver")


def _address(text: str) -> IpAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{text!r} is not an IP address", path="client") from None


def _octets(text: str | None, field: str) -> bytes | None:
    try:
        return None if text is None else bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field}: not hexadecimal", path=field) from None


def _question(**given: Any) -> SessionQuestion:
    try:
        return SessionQuestion(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0])
        where = field if field == "name" else f"client-{field.replace('_', '-')}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}", path=where) from None


def _choose(running: Running, vserver: Vserver, name: str | None) -> Node:
    """The node to ask, which may be down if it was asked for by name."""
    serving = {node.name: node for node in running.core.configuration.serving(vserver)}
    if name is not None:
        if name not in serving:
            raise not_found(f"node of vserver {vserver.name}", name, list(serving))
        return serving[name]
    health = {node.name: running.core.health[node.id].state for node in serving.values()}
    for state in (Health.UP, Health.UNKNOWN):
        for node in serving.values():
            if health[node.name] is state:
                return node
    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"all nodes that serve {vserver.name} are down")
