"""Conditional requests (RFC 9110, section 13): who changes something says which version it was made for."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Header, Response

from controller.api.problems import Problem

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The entity tag of what is to be changed; 412 if it has changed.")
]


def etag(version: int | str) -> str:
    """A strong entity tag."""
    return f'"{version}"'


def set_etag(response: Response, version: int | str) -> None:
    """Tag a response."""
    response.headers["ETag"] = etag(version)


def check(if_match: str | None, version: int | str, what: str) -> None:
    """Go on only if the client knows the present version.

    Raises:
        Problem: 428 without a condition, 412 when it does not hold.
    """
    current = etag(version)
    if if_match is None:
        detail = f"{what} is changed with If-Match: {current}, or with * whatever it is"
        raise Problem(HTTPStatus.PRECONDITION_REQUIRED, detail, path="If-Match", current=current)
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    if "*" not in tags and current not in tags:
        raise Problem(
            HTTPStatus.PRECONDITION_FAILED,
            f"{what} is at {current}, the request was made for {if_match}",
            path="If-Match",
            current=current,
        )
