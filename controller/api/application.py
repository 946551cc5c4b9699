"""The application of a controller that leads: all routes, and errors as problem documents."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Response
from pydantic import BaseModel

from controller.api import (
    agents,
    configuration,
    events,
    intents,
    metrics,
    objects,
    plans,
    problems,
    session_ids,
    sessions,
    state,
    ticket_keys,
)
from controller.api.access import Authenticator
from controller.api.description import ERRORS, describe
from controller.api.limits import BodyLimit
from controller.health import Health
from controller.leadership import Role
from controller.running import Running
from controller.southbound import SessionState


class HealthView(BaseModel):
    """Whether the controller has every switch as it should be."""

    ready: bool
    role: Role = Role.LEADER
    leader: str
    switches: dict[str, SessionState]
    nodes: dict[str, Health]
    alarms: int


def create_api(running: Running, *, name: str, authenticator: Authenticator) -> FastAPI:
    """The application.

    Args:
        running: what it shows and changes.
        name: of this controller.
        authenticator: finds out who asks.
    """
    api = FastAPI(title="Pentaflow controller", openapi_url="/openapi.json", redoc_url=None, version="1")
    api.state.authenticator = authenticator
    api.state.running = running
    problems.install(api)
    api.add_middleware(BodyLimit)

    @api.get("/health", tags=["state"], responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": HealthView}})
    async def health(response: Response) -> HealthView:
        """For load balancers and people: needs no token. 503 while a switch is not as it should be."""
        core = running.core
        ready = all(session.state is SessionState.READY for session in running.sessions)
        if not ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return HealthView(
            ready=ready,
            leader=name,
            switches={session.name: session.state for session in running.sessions},
            nodes={node.name: core.health[node.id].state for node in core.configuration.nodes},
            alarms=len(core.alarms()),
        )

    for router in (
        intents.router,
        state.router,
        objects.router,
        configuration.router,
        plans.router,
        sessions.router,
        ticket_keys.router,
        session_ids.router,
        session_ids.servers_router,
        events.router,
        metrics.router,
    ):
        api.include_router(router, responses=ERRORS)
    api.include_router(agents.router)
    describe(api)
    return api
