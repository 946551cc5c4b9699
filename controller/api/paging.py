"""Pages of long lists: `limit` and `after`, and a `Link` header to the next page (RFC 8288)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query, Request, Response

LIMIT = 1000
MAX_LIMIT = 10_000

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items of a page at most.")]


def page(
    request: Request, response: Response, items: Sequence[T], key: Callable[[T], str | int], limit: int
) -> list[T]:
    """The first `limit` items; when there are more, a link to the page after the last of them."""
    found = list(items[:limit])
    if len(items) > limit:
        following = request.url.include_query_params(after=key(found[-1]), limit=limit)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return found
