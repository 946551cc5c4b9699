"""The JSON gateway that etcd serves beside gRPC (shell): several end points, time-outs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx

from controller.store.base import StoreUnavailable
from pentaflow.config import HostPort


class Gateway:
    """Asks one member of the cluster after the other until one answers."""

    def __init__(self, endpoints: Sequence[HostPort], *, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        """
        Args:
            endpoints: the members.
            tls: how to check them, and what to show; None: plain HTTP.
            timeout_s: for all that is done within `in_time`; each member has its share.
        """
        scheme = "https" if tls else "http"
        self._urls = [f"{scheme}://{endpoint}/v3" for endpoint in endpoints]
        self.place = f"store etcd://{','.join(map(str, endpoints))}"
        self._timeout_s = timeout_s
        self._first = 0
        self._client = httpx.AsyncClient(verify=tls or False, timeout=timeout_s / len(endpoints), trust_env=False)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """A call of the store: bounded in time; an answer that is not as it should be is not etcd's."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError:
            raise StoreUnavailable(self.place, f"no answer within {self._timeout_s:g} s") from None
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise StoreUnavailable(self.place, f"answers otherwise than etcd: {error!r}") from None

    async def ask(self, method: str, request: Mapping[str, object], *, is_repeatable: bool = True) -> dict[str, Any]:
        """Call a method of etcd.

        Args:
            method: such as `kv/range`.
            request: its message.
            is_repeatable: whether another member may be asked when it is not known if the first one did it.

        Raises:
            StoreUnavailable: no member answered, or the cluster can't.
        """
        failures = []
        for index in [*range(self._first, len(self._urls)), *range(self._first)]:
            url = self._urls[index]
            try:
                response = await self._client.post(f"{url}/{method}", json=request)
            except (httpx.HTTPError, OSError) as error:  # OSError: a TLS 1.3 alert that comes late
                failures.append(f"{url}: {str(error) or type(error).__name__}")
                if is_repeatable or isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
                    continue
                break
            if response.status_code == HTTPStatus.OK:
                self._first = index
                answer = response.json()
                if not isinstance(answer, dict):
                    raise ValueError(answer)
                return answer
            failures.append(f"{url}: {response.status_code} {_reason(response)}")
            if not is_repeatable:
                break
        raise StoreUnavailable(self.place, "; ".join(failures))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
