"""HTTP client of the REST API (shell): token, problem documents, pages, the event stream."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pentaflow.errors import EXIT_FAILURE, ConfigurationError, PentaflowError

# Imported where a controller is asked: every `pentaflow` process has the operator's commands, few run one.
if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0
_STREAM_TIMEOUT_S = 60.0
_REDIRECTS = 3
_NOT_NOW = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.SERVICE_UNAVAILABLE})


class RefusedError(PentaflowError):
    """The controller refused a request, or can't be reached."""


class UnreachableError(RefusedError):
    """No controller answers."""


class NotNowError(RefusedError):
    """What was asked for does not hold, or not now: a stale plan or version, a controller that does not lead."""

    exit_status = EXIT_FAILURE


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
        import httpx

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
                verify=ssl.create_default_context(cafile=ca),
                trust_env=False,
            )
        except OSError as error:
            raise ConfigurationError(str(ca), f"no PEM file of an authority: {error.strerror or error}") from None
        except (ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(url, f"not the URL of a controller: {error}") from None
        if self._http.base_url.scheme not in ("http", "https") or not self._http.base_url.host:
            raise ConfigurationError(url, "not the URL of a controller, as http://127.0.0.1:8080 is one")
        self._url = url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, *, headers: Mapping[str, bytes] | None = None, **query: str | int) -> Any:
        """The document at a path; what must not be in a URL is in `headers`.

        Raises:
            RefusedError: the controller's own words, or that it can't be reached.
        """
        return self._send("GET", path, headers=headers, params=query).document

    def get_all(self, path: str, **query: str | int) -> list[Any]:
        """The items of a list, page after page (RFC 8288)."""
        items: list[Any] = []
        response = self._request("GET", path, params=query)
        while True:
            items += self._decode(response)
            following = response.links.get("next")
            if following is None:
                return items
            response = self._request("GET", following["url"])

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
        import httpx

        url: str | httpx.URL | None = f"/events/stream?after={after}"
        try:
            while url is not None:
                with self._http.stream("GET", url, timeout=_STREAM_TIMEOUT_S) as response:
                    url = self._maybe_leader(response)
                    if response.is_error:
                        response.read()
                        raise _refused(response)
                    for line in response.iter_lines():
                        if line.startswith("data: "):
                            yield json.loads(line.removeprefix("data: "))
        except httpx.ConnectError as error:
            raise RefusedError(self._url, f"can't be reached: {error}") from None
        except httpx.HTTPError as error:
            raise RefusedError(self._url, f"the connection broke: {error}") from None

    def _send(self, method: str, path: str, **options: Any) -> Answer:
        response = self._request(method, path, **options)
        document = self._decode(response) if response.content else None
        return Answer(document=document, etag=response.headers.get("ETag", ""))

    def _decode(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise RefusedError(self._url, "the answer is not JSON: this is no controller") from None

    def _maybe_leader(self, response: httpx.Response) -> httpx.URL | None:
        """Where a controller that follows sends a reader; httpx itself would not show the token there."""
        if response.next_request is None:
            return None
        found = response.next_request.url
        if found.scheme != self._http.base_url.scheme:
            raise RefusedError(self._url, f"sends to {found}: a token is not shown there")
        return found

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._try(method, path, **options)
        for _ in range(_REDIRECTS):
            leader = self._maybe_leader(response)
            if leader is None:
                break
            response = self._try(method, leader, **options | {"params": None})
        if response.is_error:
            raise _refused(response)
        if response.is_redirect:
            raise NotNowError(self._url, "controllers send from one to another: none leads now")
        return response

    def _try(self, method: str, path: str | httpx.URL, **options: Any) -> httpx.Response:
        import httpx

        for attempt in ("first", "again"):
            try:
                return self._http.request(method, path, **options)
            except httpx.ConnectError as error:
                raise UnreachableError(self._url, f"can't be reached: {error}") from None
            except httpx.HTTPError as error:
                if attempt == "again":
                    raise UnreachableError(self._url, f"no answer: {error or type(error).__name__}") from None
        raise AssertionError("the second attempt returns or raises")


def _refused(response: httpx.Response) -> RefusedError:
    try:
        problem = response.json()
        detail, path = problem["detail"], problem.get("path", "")
    except (ValueError, KeyError, TypeError):
        detail, path = f"{response.status_code} {response.reason_phrase}", ""
    kind = NotNowError if response.status_code in _NOT_NOW else RefusedError
    return kind(path, f"{detail} ({response.status_code})")
