"""What a node says in its status document, as far as the controller reads it; one of another version may say less."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ValidationError


class ServerStatus(BaseModel):
    """A server, as one node sees it."""

    name: str
    address: str
    hits: int
    open: int
    failed: int
    average_response_ms: float | None = None


class VserverStatus(BaseModel):
    """A vserver on one node."""

    name: str
    open_connections: int
    requests: int
    servers: tuple[ServerStatus, ...] = ()


class StatusDocument(BaseModel):
    """A node's status document."""

    vservers: tuple[VserverStatus, ...]

    @classmethod
    def maybe(cls, document: dict[str, Any] | None) -> Self | None:
        """What a document says; None: there is none, or it is of another kind."""
        if document is None:
            return None
        try:
            return cls.model_validate(document)
        except ValidationError:
            return None
