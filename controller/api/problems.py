"""Errors as `application/problem+json` (RFC 9457), whatever raised them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from controller.store.base import Conflict, Fenced, StoreUnavailable
from pentaflow.errors import ConfigurationError
from pentaflow.misplaced import nearest

MEDIA_TYPE = "application/problem+json"
_SOON = {"Retry-After": "1"}


class ProblemView(BaseModel):
    """A problem document (RFC 9457, section 3.1); `path` is the field or place of the request that it is about."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    path: str | None = None
    current: str | None = None


class Problem(Exception):
    """Becomes a problem document.

    Args:
        status: the response's status.
        detail: one sentence: what was found, what was expected.
        path: the field that it is about.
        current: the entity tag that a conditional request should have had.
        headers: of the response.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        path: str | None = None,
        current: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = _encodable(detail)
        self.path = None if path is None else _encodable(path)
        self.current = current
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        view = ProblemView(
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            path=self.path,
            current=self.current,
        )
        if self.current:
            self.headers["ETag"] = self.current
        return JSONResponse(
            view.model_dump(exclude_none=True),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers=self.headers,
        )


def not_found(kind: str, name: str, names: list[str]) -> Problem:
    """404 with the name that may have been meant."""
    return Problem(HTTPStatus.NOT_FOUND, f"there is no {kind} {name!r}{nearest(name, names)}")


def as_problem(error: Exception) -> Problem:
    """What an error of the layers below, or of the framework, is to a client."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _of_request(error)
        case ConfigurationError():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.message, path=error.place or None)
        case Conflict():
            return Problem(HTTPStatus.CONFLICT, "somebody else has changed this at the same time; read it again")
        case Fenced():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "this controller no longer leads", headers=_SOON)
        case StoreUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"the store: {error}", headers=_SOON)
        case HTTPException():
            return Problem(HTTPStatus(error.status_code), error.detail, headers=error.headers)
    raise error


def _of_request(error: RequestValidationError) -> Problem:
    first: Mapping[str, Any] = error.errors()[0]
    source, *path = first["loc"]
    where = ".".join(map(str, path)) or str(source)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}", path=where)


def _encodable(text: str) -> str:
    """Lone surrogates, which JSON can name but UTF-8 can't hold, written out."""
    return text.encode(errors="backslashreplace").decode()


def install(api: FastAPI) -> None:
    """Answer all errors that are a client's business by problem documents."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
            error = Problem(HTTPStatus.NOT_FOUND, f"there is nothing at {request.url.path}")
        return as_problem(error).response()

    kinds = (Problem, RequestValidationError, ConfigurationError, Conflict, Fenced, StoreUnavailable, HTTPException)
    for kind in kinds:
        api.add_exception_handler(kind, answer)
