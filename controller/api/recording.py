"""Requests that change something: written to the audit log, and done once however often they are sent [O2].

A client that repeats a request with the same `Idempotency-Key` gets the answer of the first (as in the IETF draft
"The Idempotency-Key HTTP Header Field", draft-ietf-httpapi-idempotency-key-header). Refused requests are in the audit
log, too; answers of 5xx are not kept, since what they did is not known.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute

from controller.api.access import Identity
from controller.api.description import MAX_IDEMPOTENCY_KEY
from controller.api.problems import Problem, as_problem
from controller.repository import Answer, AuditEntry, Repository
from controller.running import Running
from controller.store.base import Fenced, StoreUnavailable

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KEPT_HEADERS = ("content-type", "etag", "location")

log = structlog.get_logger(__name__)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class RecordedRoute(APIRoute):
    """A route whose changes are recorded."""

    def get_route_handler(self) -> Handler:
        """See `fastapi.routing.APIRoute`."""
        handle = super().get_route_handler()

        async def recorded(request: Request) -> Response:
            if request.method in _SAFE:
                return await _audit_refusal(request, handle)
            return await _change(request, handle)

        return recorded


async def _audit_refusal(request: Request, handle: Handler) -> Response:
    try:
        return await handle(request)
    except Problem as problem:
        if problem.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            await _audit(request, problem.status, problem.detail)
        raise


async def _change(request: Request, handle: Handler) -> Response:
    detail = ""
    try:
        response = await _once(request, handle)
    except Exception as error:
        problem = as_problem(error)
        detail, response = problem.detail, problem.response()
    await _audit(request, response.status_code, detail)
    return response


async def _once(request: Request, handle: Handler) -> Response:
    """Handle a request, unless it was handled before."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return await handle(request)
    if len(key) > MAX_IDEMPOTENCY_KEY:
        raise Problem(HTTPStatus.BAD_REQUEST, f"an Idempotency-Key of more than {MAX_IDEMPOTENCY_KEY} characters")
    running: Running = request.app.state.running
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    identity = request.app.state.authenticator.identify(token.strip() if scheme.lower() == "bearer" else None)
    request.state.identity = identity
    # Keys of different clients are different keys.
    scope = hashlib.sha256(f"{identity.name}\0{key}".encode()).hexdigest()
    if scope in running.in_progress:
        raise Problem(HTTPStatus.CONFLICT, "the request with this Idempotency-Key is still being handled")
    running.in_progress.add(scope)
    try:
        return await _once_in_turn(request, handle, running.repository, scope)
    finally:
        running.in_progress.remove(scope)


async def _once_in_turn(request: Request, handle: Handler, repository: Repository, scope: str) -> Response:
    request_line = f"{request.method} {request.url.path}?{request.url.query}\n{request.headers.get('If-Match', '')}\n"
    fingerprint = hashlib.sha256(request_line.encode() + await request.body()).hexdigest()
    if found := await repository.maybe_answer(scope, now_s=time.time()):
        if found.fingerprint != fingerprint:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request")
        return Response(found.body, status_code=found.status, headers=found.headers)
    try:
        response = await handle(request)
    except Exception as error:
        problem = as_problem(error)
        if problem.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        response = problem.response()
    if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        answer = Answer(
            fingerprint=fingerprint,
            status=response.status_code,
            body=bytes(response.body).decode(),
            headers={name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers},
            at_s=time.time(),
        )
        await repository.keep_answer(scope, answer)
    return response


async def _audit(request: Request, status: int, detail: str) -> None:
    identity: Identity | None = getattr(request.state, "identity", None)
    entry = AuditEntry(
        at_s=time.time(),
        who=identity.name if identity else "",
        role=identity.role if identity else "",
        address=request.client.host if request.client else "",
        method=request.method,
        path=request.url.path,
        status=status,
        detail=detail,
    )
    log.info("audit", **entry.model_dump(exclude={"schema_version", "at_s"}))
    running: Running = request.app.state.running
    try:
        await running.repository.append_audit(entry)
    except (Fenced, StoreUnavailable) as error:
        # The change, if there was one, is made; the log line above is what remains of it.
        log.error("audit entry could not be kept", reason=str(error))
