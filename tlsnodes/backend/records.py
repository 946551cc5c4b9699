"""Where a back end's record comes from: a file, or a controller (shell)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
from pydantic import ValidationError

from pentaflow.config import MutualTls
from pentaflow.errors import ConfigurationError, HostError, PentaflowError
from pentaflow.files import read_credentials, read_file
from pentaflow.mutual import client_context
from pentaflow.session_ids import SessionIdRecord, SessionIdReport

POLL_S = 1.0
_TIMEOUT_S = 10.0
_SCHEMES = ("http://", "https://")

_log = structlog.get_logger(__name__)

TakeRecord = Callable[[SessionIdRecord], None]
MakeReport = Callable[[], SessionIdReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where records are.

    Attributes:
        place: a file, or the URL of a controller's `/session-ids/VSERVER/SERVER`.
        token: that the controller asks for; empty: none.
        tls: to the controller; None: what this host trusts.
    """

    place: str
    token: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def is_url(self) -> bool:
        """Whether a controller has them."""
        return self.place.startswith(_SCHEMES)


def make_origin(
    place: str, *, token_file: Path | None, ca: Path | None, certificate: Path | None, key: Path | None
) -> Origin:
    """Where records are, and what is needed to get them.

    Args:
        place: a file or a URL.
        token_file: of the bearer token; None: there is none.
        ca: authority of the controller; None: what this host trusts.
        certificate, key: to be shown to the controller; they go together, and with `ca`.

    Raises:
        ConfigurationError: a file can't be read or is not what it should be, one is missing, or the URL is none.
    """
    if place.startswith(_SCHEMES):
        _check_url(place)
    token = read_file(token_file, "--token-file").decode("ascii", "replace").strip() if token_file else ""
    read_credentials(certificate=certificate, key=key, ca=ca, places=("--client-cert", "--client-key", "--ca"))
    context = None
    if certificate is not None and key is not None:
        if ca is None:
            raise ConfigurationError("--client-cert", "needs --ca, too")
        context = client_context(MutualTls(ca=ca, certificate=certificate, key=key), "controller")
    elif ca is not None:
        context = ssl.create_default_context(cafile=str(ca))
    return Origin(place=place, token=token, tls=context)


def _check_url(url: str) -> None:
    try:
        is_good = bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        is_good = False
    if not is_good:
        raise ConfigurationError(
            "--record", f"{url!r} is not the URL of a record, as http://HOST:PORT/session-ids/VSERVER/SERVER"
        )


async def follow(origin: Origin, take: TakeRecord, make_report: MakeReport) -> None:
    """Take each new record, and report to the controller what is left of what is no longer issued, until cancelled.

    What goes wrong is logged, once for each reason, and tried again: the last record holds as long as it says.
    """
    complaint = ""
    headers = {"Authorization": f"Bearer {origin.token}"} if origin.token else {}
    verify = origin.tls or True
    async with httpx.AsyncClient(verify=verify, headers=headers, trust_env=False, timeout=_TIMEOUT_S) as client:
        while True:
            try:
                if origin.is_url:
                    response = await _ask(client, origin.place)
                    take(_read(response.content, origin.place))
                    await _tell(client, str(response.url), make_report())
                else:
                    take(_read(await asyncio.to_thread(_load, origin.place), origin.place))
                complaint = ""
            except PentaflowError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _log.warning("no record of session ids", reason=complaint)
            await asyncio.sleep(POLL_S)


def _load(place: str) -> bytes:
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise HostError(place, f"can't be read: {error.strerror}") from None


async def _ask(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The answer of the controller that leads; httpx itself would not show the token to another than it asks."""
    response = await _request(client, "GET", url)
    if response.next_request is None:
        return response
    leader = response.next_request.url
    if leader.scheme != response.url.scheme:
        raise ConfigurationError(url, f"sends to {leader}: a token is not shown there")
    return await _request(client, "GET", str(leader))


async def _tell(client: httpx.AsyncClient, url: str, report: SessionIdReport) -> None:
    headers = {"Content-Type": "application/json"}
    await _request(client, "PUT", f"{url.rstrip('/')}/report", content=report.model_dump_json(), headers=headers)


async def _request(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    content: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    try:
        response = await client.request(method, url, content=content, headers=headers)
    except httpx.HTTPError as error:
        raise HostError(url, str(error) or type(error).__name__) from None
    if response.is_error:
        raise HostError(url, _why(response))
    return response


def _why(response: httpx.Response) -> str:
    try:
        return f"{response.json()['detail']} ({response.status_code})"
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _read(text: bytes, place: str) -> SessionIdRecord:
    try:
        return SessionIdRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(place, f"no record: {where}: {first['msg']}") from None
