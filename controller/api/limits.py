"""ASGI middleware: a body longer than anybody needs is refused before it is all in memory."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_OCTETS = 8 << 20


class BodyLimit:
    """Counts what is received; the route that reads too much gets an HTTPException of 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        octets = 0

        async def receive_some() -> Message:
            nonlocal octets
            message = await receive()
            octets += len(message.get("body", b""))
            if octets > MAX_BODY_OCTETS:
                detail = f"a body of more than {MAX_BODY_OCTETS} octets"
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            return message

        await self._app(scope, receive_some, send)
