"""HTTP client of the REST API (shell): token, problem documents, pages, the event stream."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pentaflow.errors import ConfigurationError, PentaflowError

TIMEOUT_S = 10.0
_STREAM_TIMEOUT_S = 60.0


class RefusedError(PentaflowError):
    """The controller refused a request, or can't be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response: the document, and its entity tag."""

    document: Any
    etag: str


class Client:
    """One controller. To be closed, or used as a context."""

    def __init__(self, url: str, *, token_file: Path | None = None, ca: Path | None = None) -> None:
        """
        Raises:
            ConfigurationError: the token file or the CA can't be read, or the URL is none.
        """
        headers = {}
        if token_file is not None:
            try:
                headers["Authorization"] = f"Bearer {token_file.read_text('ascii').strip()}"
            except (OSError, UnicodeError) as error:
                raise ConfigurationError(str(token_file), f"can't be read: {error}") from None
        try:
            self._http = httpx.Client(
                base_url=url,
                headers=headers,
                timeout=TIMEOUT_S,
                verify=str(ca) if ca else True,
                trust_env=False,
                follow_redirects=True,
            )
        except (OSError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(url, f"not the URL of a controller: {error}") from None
        self._url = url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """The document at a path.

        Raises:
            RefusedError: the controller's own words, or that it can't be reached.
        """
        return self._send("GET", path, params=query).document

    def get_all(self, path: str, **query: str | int) -> list[Any]:
        """The items of a list, page after page (RFC 8288)."""
        items: list[Any] = []
        response = self._request("GET", path, params=query)
        while True:
            items += response.json()
            following = response.links.get("next")
            if following is None:
                return items
            response = self._request("GET", following["url"])

    def get_text(self, path: str) -> tuple[str, str]:
        """The text at a path, and its entity tag."""
        response = self._request("GET", path)
        return response.text, response.headers.get("ETag", "")

    def change(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        text: str | None = None,
        if_match: str = "",
        **query: str | bool,
    ) -> Answer:
        """Change something, once even if the connection breaks and the request is sent again."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        if if_match:
            headers["If-Match"] = if_match
        if text is not None:
            headers["Content-Type"] = "application/yaml"
        content = None if text is None else text.encode()
        return self._send(method, path, headers=headers, json=json, content=content, params=query)

    def events(self, after: int) -> Iterator[dict[str, Any]]:
        """Events as they happen (server-sent events); ends when the connection does."""
        try:
            with self._http.stream(
                "GET", "/events/stream", params={"after": after}, timeout=_STREAM_TIMEOUT_S
            ) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise RefusedError(self._url, f"the connection broke: {error}") from None

    def _send(self, method: str, path: str, **options: Any) -> Answer:
        response = self._request(method, path, **options)
        return Answer(document=response.json() if response.content else None, etag=response.headers.get("ETag", ""))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        for attempt in ("first", "again"):
            try:
                response = self._http.request(method, path, **options)
                break
            except httpx.ConnectError as error:
                raise RefusedError(self._url, f"can't be reached: {error}") from None
            except httpx.HTTPError as error:
                if attempt == "again":
                    raise RefusedError(self._url, f"no answer: {error or type(error).__name__}") from None
        if response.is_error:
            raise _refused(response)
        return response


def _refused(response: httpx.Response) -> RefusedError:
    try:
        problem = response.json()
        detail, path = problem["detail"], problem.get("path", "")
    except (ValueError, KeyError, TypeError):
        detail, path = f"{response.status_code} {response.reason_phrase}", ""
    return RefusedError(path, f"{detail} ({response.status_code})")
