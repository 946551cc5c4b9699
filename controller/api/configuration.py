"""The configuration: pushed, read, listed by version, rolled back [O1]."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import BaseModel, Field

from controller.api.access import Admin, Viewer
from controller.api.conditions import IfMatch, check, set_etag
from controller.api.description import YAML, yaml_content
from controller.api.paging import LIMIT, Limit, page
from controller.api.problems import Problem
from controller.api.recording import RecordedRoute
from controller.operations import InForce, Operations
from controller.repository import Repository

MAX_OCTETS = 1 << 20

router = APIRouter(prefix="/configuration", route_class=RecordedRoute, tags=["configuration"])

Comment = Annotated[str, Query(max_length=500, description="Your own words, kept with the version.")]


class PushedView(BaseModel):
    """The version that is in force, and what it has."""

    version: int
    switches: int
    nodes: int
    vservers: int
    pools: int


class VersionView(BaseModel):
    """A version that is kept."""

    version: int
    who: str
    at_s: float
    comment: str
    in_force: bool


class RollbackRequest(BaseModel):
    """Which version to put in force again; without a number, the one before."""

    version: Annotated[int | None, Field(ge=1)] = None


def pushed_view(in_force: InForce) -> PushedView:
    """Says which version is in force now."""
    found = in_force.configuration
    return PushedView(
        version=in_force.number,
        switches=len(found.switches),
        nodes=len(found.nodes),
        vservers=len(found.vservers),
        pools=len(found.pools),
    )


@router.get("", response_class=Response, responses={200: {"content": yaml_content()}})
async def get_configuration(request: Request, _: Admin) -> Response:
    """The text of the version in force. It may hold secrets."""
    operations: Operations = request.app.state.running.operations
    response = Response(operations.in_force.text, media_type=YAML)
    set_etag(response, operations.in_force.number)
    return response


@router.put("", openapi_extra={"requestBody": {"required": True, "content": yaml_content()}})
async def push_configuration(
    request: Request,
    response: Response,
    identity: Admin,
    if_match: IfMatch = None,
    comment: Comment = "",
    dry_run: Annotated[bool, Query(description="Check it only.")] = False,
) -> PushedView:
    """Put a configuration in force. A broken one changes nothing."""
    operations: Operations = request.app.state.running.operations
    text = await _text(request)
    if dry_run:
        configuration = operations.parse(text)
        return pushed_view(InForce(number=operations.in_force.number, text=text, configuration=configuration))
    in_force = await operations.push(
        text, who=identity.name, comment=comment, allow=lambda number: check(if_match, number, "the configuration")
    )
    set_etag(response, in_force.number)
    return pushed_view(in_force)


@router.get("/versions")
async def list_versions(
    request: Request,
    response: Response,
    _: Viewer,
    after: Annotated[int, Query(ge=0, description="Only versions with a lower number; 0: all.")] = 0,
    limit: Limit = LIMIT,
) -> list[VersionView]:
    """The versions that are kept, the newest first."""
    repository: Repository = request.app.state.running.repository
    operations: Operations = request.app.state.running.operations
    found = [
        VersionView(
            version=version.number,
            who=version.who,
            at_s=version.at_s,
            comment=version.comment,
            in_force=version.number == operations.in_force.number,
        )
        for version in reversed(await repository.versions())
        if not after or version.number < after
    ]
    return page(request, response, found, lambda version: version.version, limit)


@router.get(
    "/versions/{version}",
    response_class=Response,
    responses={200: {"content": yaml_content()}},
)
async def get_version(request: Request, _: Admin, version: Annotated[int, Path(ge=1)]) -> Response:
    """The text of a version. It may hold secrets."""
    repository: Repository = request.app.state.running.repository
    text = await repository.text(version)
    if text is None:
        raise _no_version(version)
    return Response(text, media_type=YAML)


@router.post("/rollback")
async def roll_back(
    request: Request,
    response: Response,
    identity: Admin,
    body: Annotated[RollbackRequest, Body()],
    if_match: IfMatch = None,
) -> PushedView:
    """Put an earlier version in force again. It keeps its number."""
    operations: Operations = request.app.state.running.operations
    try:
        in_force = await operations.roll_back(
            body.version,
            who=identity.name,
            allow=lambda number: check(if_match or "*", number, "the configuration"),
        )
    except KeyError as error:
        raise _no_version(error.args[0]) from None
    set_etag(response, in_force.number)
    return pushed_view(in_force)


def _no_version(version: int) -> Problem:
    detail = f"there is no version {version}" if version else "no version was in force before"
    return Problem(HTTPStatus.NOT_FOUND, detail)


async def _text(request: Request) -> str:
    kind = request.headers.get("Content-Type", YAML).partition(";")[0].strip().lower()
    if kind not in (YAML, "application/x-yaml", "text/yaml", "text/plain"):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{kind} is not {YAML}", path="Content-Type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_OCTETS:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a configuration of more than {MAX_OCTETS} octets")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"not UTF-8: octet {error.start}") from None
