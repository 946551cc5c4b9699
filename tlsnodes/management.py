"""The node's management address [N8] (shell): what its supervisor knows, over HTTP or, with mutual TLS, HTTPS.

`GET /status` and `/metrics` may be read by whoever has a certificate of the authority; `POST /sessions/{vserver}`,
`POST /open-connections`, `PUT /ticket-keys`, `PUT /session-ids` and `POST /reload` are for controllers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pentaflow.errors import ConfigurationError, HostError
from pentaflow.misplaced import nearest
from pentaflow.mutual import CONTROLLER, maybe_peer_names
from pentaflow.session_ids import SessionIdTables
from pentaflow.sessions import SessionQuestion
from pentaflow.ticket_keys import TicketKeySet
from tlsnodes.metrics import metrics_text
from tlsnodes.open_question import MAX_QUESTION_BYTES, BadQuestion, Question, parse_question

MAX_GIVEN_BYTES = 16 << 20
MAX_SESSION_QUESTION_BYTES = 1 << 17
_M = TypeVar("_M", bound=BaseModel)
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedNode:
    """What the management address shows and does.

    Attributes:
        describe: the status document.
        vservers: names of those that are served.
        count_open: the answer to a question about open connections; HostError: not all workers have answered.
        explain: which server a client of a vserver would get. ConfigurationError: none; HostError: no worker has
            answered.
        give_ticket_keys: takes them; HostError: the node makes its own.
        give_session_ids: has all workers go by these tables.
        reload: takes the configuration from where it comes from; the version that runs then. A PentaflowError: the old
            one goes on.
    """

    describe: Callable[[], Awaitable[dict[str, Any]]]
    vservers: Callable[[], list[str]]
    count_open: Callable[[Question], Awaitable[dict[str, Any]]]
    explain: Callable[[str, SessionQuestion], Awaitable[dict[str, Any]]]
    give_ticket_keys: Callable[[TicketKeySet], Awaitable[None]]
    give_session_ids: Callable[[SessionIdTables], Awaitable[None]]
    reload: Callable[[], Awaitable[dict[str, Any]]]


def create_management(node: ManagedNode) -> Starlette:
    """The ASGI application of one node's management address."""

    async def status(request: Request) -> Response:
        del request
        return JSONResponse(await node.describe(), headers=_NO_STORE)

    async def metrics(request: Request) -> Response:
        del request
        return Response(metrics_text(await node.describe()), media_type=CONTENT_TYPE_LATEST)

    async def open_connections(request: Request) -> Response:
        _check_controller(request)
        try:
            question = parse_question(await _body(request, MAX_QUESTION_BYTES), node.vservers())
        except BadQuestion as bad:
            raise HTTPException(bad.status, str(bad)) from None
        try:
            return JSONResponse(await node.count_open(question), headers=_NO_STORE)
        except HostError as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None

    async def sessions(request: Request) -> Response:
        _check_controller(request)
        vserver, known = request.path_params["vserver"], node.vservers()
        if vserver not in known:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"this node has no vserver {vserver!r}{nearest(vserver, known)}")
        question = await _given(request, SessionQuestion, MAX_SESSION_QUESTION_BYTES)
        try:
            return JSONResponse(await node.explain(vserver, question), headers=_NO_STORE)
        except ConfigurationError as error:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except HostError as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None

    async def ticket_keys(request: Request) -> Response:
        _check_controller(request)
        keys = await _given(request, TicketKeySet, MAX_GIVEN_BYTES)
        try:
            await node.give_ticket_keys(keys)
        except HostError as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
        return JSONResponse({"version": keys.version}, headers=_NO_STORE)

    async def session_ids(request: Request) -> Response:
        _check_controller(request)
        tables = await _given(request, SessionIdTables, MAX_GIVEN_BYTES)
        await node.give_session_ids(tables)
        return JSONResponse(tables.versions(), headers=_NO_STORE)

    async def reload(request: Request) -> Response:
        _check_controller(request)
        await _body(request, 0)
        try:
            return JSONResponse(await node.reload(), headers=_NO_STORE)
        except ConfigurationError as error:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}; nothing has changed") from None
        except HostError as error:
            raise HTTPException(HTTPStatus.CONFLICT, f"{error}; nothing has changed") from None

    routes = [
        Route("/status", status, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/sessions/{vserver}", sessions, methods=["POST"]),
        Route("/open-connections", open_connections, methods=["POST"]),
        Route("/ticket-keys", ticket_keys, methods=["PUT"]),
        Route("/session-ids", session_ids, methods=["PUT"]),
        Route("/reload", reload, methods=["POST"]),
    ]
    paths = [route.path for route in routes]

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers, detail = dict(error.headers or {}), error.detail
        if detail == HTTPStatus.NOT_FOUND.phrase:  # it is the router's
            detail = f"there is only {', '.join(paths[:-1])} and {paths[-1]}"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"only {', '.join(sorted(headers['Allow'].split(', ')))}"
        phrase = HTTPStatus(error.status_code).phrase
        return PlainTextResponse(f"{error.status_code} {phrase}: {detail}\n", error.status_code, headers)

    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


def _check_controller(request: Request) -> None:
    names = maybe_peer_names(request.scope)
    if names is not None and CONTROLLER not in names:
        shown = ", ".join(sorted(names)) or "nobody"
        raise HTTPException(HTTPStatus.FORBIDDEN, f"the certificate is that of {shown}, not of a {CONTROLLER}")


async def _given(request: Request, kind: type[_M], limit: int) -> _M:
    """What a body says, of which nothing is repeated where it is wrong."""
    try:
        return kind.model_validate_json(await _body(request, limit))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of more than {limit} bytes")
    return bytes(body)
