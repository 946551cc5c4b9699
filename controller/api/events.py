"""Events, as a list and as a stream of server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from controller.api.access import Viewer
from controller.api.paging import LIMIT, Limit, page
from controller.api.recording import RecordedRoute
from controller.core import Core
from controller.events import Event

KEEPALIVE_S = 15.0

router = APIRouter(route_class=RecordedRoute, tags=["events"])


class EventView(BaseModel):
    """Something that happened: milliseconds since 1970 and on the controller's monotonic clock."""

    id: int
    kind: str
    at_ms: float
    monotonic_ms: float
    details: dict[str, str | int | float]


@router.get("/events")
async def events(
    request: Request,
    response: Response,
    _: Viewer,
    after: Annotated[int, Query(ge=0, description="Only events with a higher id.")] = 0,
    limit: Limit = LIMIT,
) -> list[EventView]:
    """Events, oldest first; the last 10,000 are kept."""
    core: Core = request.app.state.running.core
    return [_view(event) for event in page(request, response, core.events.after(after), lambda e: e.id, limit)]


@router.get("/events/stream", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def stream(
    request: Request,
    _: Viewer,
    after: Annotated[int, Query(ge=0, description="Only events with a higher id.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> StreamingResponse:
    """Events as they happen, after those that are kept; a client that reconnects goes on where it was."""
    core: Core = request.app.state.running.core
    start = after if last_event_id is None else last_event_id
    return StreamingResponse(
        _stream(core, start), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _stream(core: Core, last_id: int) -> AsyncIterator[str]:
    news = asyncio.Event()
    unsubscribe = core.events.subscribe(lambda _: news.set())
    try:
        yield ": events\n\n"
        while True:
            news.clear()
            for event in core.events.after(last_id):
                last_id = event.id
                yield f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(_view(event).model_dump())}\n\n"
            try:
                await asyncio.wait_for(news.wait(), KEEPALIVE_S)
            except TimeoutError:
                yield ": still here\n\n"
    finally:
        unsubscribe()


def _view(event: Event) -> EventView:
    return EventView(
        id=event.id,
        kind=event.kind,
        at_ms=event.at_ms,
        monotonic_ms=event.monotonic_ms,
        details=dict(event.details),
    )
