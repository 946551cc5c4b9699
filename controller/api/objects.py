"""Switches, nodes, vservers and pools: as configured, and what became of them.

Changing one is a new version of the configuration, checked as a whole. The entity tag of every object is that of the
configuration: `If-Match` says which version the change was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import BaseModel

from controller.api import views
from controller.api.access import Admin, Viewer
from controller.api.conditions import IfMatch, check, set_etag
from controller.api.configuration import PushedView, pushed_view
from controller.api.description import body_schema
from controller.api.paging import LIMIT, Limit, page
from controller.api.problems import Problem, not_found
from controller.api.recording import RecordedRoute
from controller.operations import Operations
from controller.running import Running
from pentaflow.config import Node, Pool, Switch, Vserver

router = APIRouter(route_class=RecordedRoute)

Name = Annotated[str, Path(max_length=63)]
After = Annotated[str, Query(max_length=63, description="Only objects whose names come later.")]

# group → (what one is called, its configuration, its view, makes all views by name)
_GROUPS: Mapping[str, tuple[str, type[BaseModel], type[BaseModel], Callable[[Running], Mapping[str, BaseModel]]]] = {
    "switches": ("switch", Switch, views.SwitchView, views.switches),
    "nodes": ("node", Node, views.NodeView, views.nodes),
    "vservers": ("vserver", Vserver, views.VserverView, views.vservers),
    "pools": ("pool", Pool, views.PoolView, views.pools),
}


def _add_routes(group: str) -> None:
    what, configured, viewed, make_views = _GROUPS[group]

    def find(request: Request, name: str) -> BaseModel:
        found = make_views(request.app.state.running)
        if name not in found:
            raise not_found(what, name, list(found))
        return found[name]

    async def list_all(
        request: Request, response: Response, _: Viewer, after: After = "", limit: Limit = LIMIT
    ) -> list[Any]:
        running: Running = request.app.state.running
        items = sorted(make_views(running).items())
        set_etag(response, running.operations.in_force.number)
        return [view for _, view in page(request, response, [i for i in items if i[0] > after], lambda i: i[0], limit)]

    async def get_one(request: Request, response: Response, _: Viewer, name: Name) -> Any:
        running: Running = request.app.state.running
        set_etag(response, running.operations.in_force.number)
        return find(request, name)

    async def put_one(
        request: Request,
        response: Response,
        identity: Admin,
        name: Name,
        body: Annotated[dict[str, Any], Body()],
        if_match: IfMatch = None,
    ) -> PushedView:
        operations: Operations = request.app.state.running.operations
        if body.get("name", name) != name:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"name is {body['name']!r}, not {name!r}", path="name")
        in_force = await operations.edit(
            group,
            name,
            {"name": name} | body,
            who=identity.name,
            allow=lambda number: check(if_match, number, "the configuration"),
        )
        set_etag(response, in_force.number)
        return pushed_view(in_force)

    async def delete_one(
        request: Request, response: Response, identity: Admin, name: Name, if_match: IfMatch = None
    ) -> PushedView:
        operations: Operations = request.app.state.running.operations
        find(request, name)
        in_force = await operations.edit(
            group, name, None, who=identity.name, allow=lambda number: check(if_match, number, "the configuration")
        )
        set_etag(response, in_force.number)
        return pushed_view(in_force)

    path = f"/{group}/{{name}}"
    many: Any = list[viewed]  # type: ignore[valid-type]  # a type, chosen at run time
    answers = {list_all: many, get_one: viewed, put_one: PushedView, delete_one: PushedView}
    for method, at, endpoint, text in (
        ("GET", f"/{group}", list_all, f"All {group}, by name."),
        ("GET", path, get_one, f"One {what}."),
        ("PUT", path, put_one, f"Configure a {what}: a new version of the configuration."),
        ("DELETE", path, delete_one, f"Remove a {what} from the configuration."),
    ):
        router.add_api_route(
            at,
            endpoint,
            methods=[method],
            tags=[group],
            description=text,
            name=f"{endpoint.__name__}_{group}",
            response_model=answers[endpoint],
            openapi_extra=body_schema(configured) if method == "PUT" else None,
        )


for _group in _GROUPS:
    _add_routes(_group)
