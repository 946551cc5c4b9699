"""The REST API of a controller that does not lead (shell): who does, and the way there."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel

from controller.leadership import Role
from controller.leading import Leadership

_READS = ["GET", "HEAD"]
_WRITES = ["POST", "PUT", "PATCH", "DELETE"]


class FollowerHealthView(BaseModel):
    """Whether this controller knows whom it follows."""

    ready: bool
    role: Role = Role.FOLLOWER
    leader: str


def create_follower_api(leadership: Leadership) -> FastAPI:
    """The application; `leadership` knows who leads."""
    api = FastAPI(title="Pentaflow controller, following", openapi_url=None)

    @api.get("/health")
    async def health(response: Response) -> FollowerHealthView:
        leader = leadership.other_leader
        if leader is None:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return FollowerHealthView(ready=leader is not None, leader=leader.name if leader else "")

    @api.api_route("/{path:path}", methods=_READS)
    async def read(request: Request) -> Response:
        leader = leadership.other_leader
        if leader is None:
            return _unavailable("no controller leads yet")
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{leader.address}{request.url.path}{query}", HTTPStatus.TEMPORARY_REDIRECT)

    @api.api_route("/{path:path}", methods=_WRITES)
    async def write() -> Response:
        leader = leadership.other_leader
        if leader is None:
            return _unavailable("no controller leads yet")
        return _unavailable(f"this controller follows; {leader.name} leads, at {leader.address}")

    return api


def _unavailable(detail: str) -> JSONResponse:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers={"Retry-After": "1"})
