"""The store in a Redis or Valkey server, for the nodes of many machines (shell).

A record is a hash: v value, n version, u uses. Each call is one script, which the server runs as a whole; the change of
a record is published by the script that makes it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError

from tlsnodes.store.store import Changes, Conflict, Record, StoreFull, StoreTimeout, StoreUnavailable, check_size

PREFIX = b"pentaflow/"
"""Of all keys, for a server that others use as well."""
CHANNEL = b"pentaflow/changed"
MAX_CONNECTIONS = 16
WATCH_S = 1.0
"""How often the connection that tells changes is tried: one that is silent for twice as long has been lost."""
RETRY_S = 0.2

# The version is the time in microseconds, or one more than the last: no record of a key has had it.
_VERSION = """
local function version(last)
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    if last and tonumber(last) >= now then now = tonumber(last) + 1 end
    return string.format('%.0f', now)
end
"""
_GET = "local r = redis.call('HMGET', KEYS[1], 'v', 'n', 'u'); r[4] = redis.call('PTTL', KEYS[1]); return r"
_PUT = f"""{_VERSION}
local last = redis.call('HGET', KEYS[1], 'n')
local n = version(last)
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'n', n, 'u', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if last then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return n
"""
_GET_OR_CREATE = f"""{_VERSION}
local r = redis.call('HMGET', KEYS[1], 'v', 'n', 'u')
if r[2] then r[4] = redis.call('PTTL', KEYS[1]); r[5] = 0; return r end
local n = version(false)
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'n', n, 'u', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {{ARGV[1], n, 0, tonumber(ARGV[2]), 1}}
"""
_UPDATE = f"""{_VERSION}
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[2] then return false end
local n = version(ARGV[2])
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'n', n)
redis.call('PUBLISH', ARGV[3], ARGV[4])
return n
"""
_TOUCH = """
local left = redis.call('PTTL', KEYS[1])
if left < 0 then return false end
if left < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
if ARGV[2] == '0' then return redis.call('HGET', KEYS[1], 'u') end
return redis.call('HINCRBY', KEYS[1], 'u', ARGV[2])
"""
_DELETE = "if redis.call('DEL', KEYS[1]) == 1 then redis.call('PUBLISH', ARGV[1], ARGV[2]) end"


class RedisStore:
    """See `SessionStore`. What it does when it is full is the server's business: `maxmemory` and its policy."""

    def __init__(self, url: str, *, password: str | None, ca_pem: str | None, timeout_s: float) -> None:
        """
        Args:
            url: `redis://[user@]host:port[/number]`, or `rediss://` for TLS.
            password: of the user, or of the server.
            ca_pem: what the server's certificate is checked against with TLS; None: what the system trusts.
            timeout_s: how long a call may take.
        """
        self._place = f"store {url}"
        self._timeout_s = timeout_s
        options: dict[str, Any] = {}
        if password is not None:
            options["password"] = password
        if ca_pem is not None:
            options["ssl_ca_data"] = ca_pem
        # A call fails at once rather than twice as late: whoever calls has a limit of his own.
        self._redis: Redis = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            max_connections=MAX_CONNECTIONS,
            protocol=2,
            **options,
        )
        self._turn = asyncio.Semaphore(MAX_CONNECTIONS - 1)  # one is for the changes
        self._get = self._redis.register_script(_GET)
        self._put = self._redis.register_script(_PUT)
        self._get_or_create = self._redis.register_script(_GET_OR_CREATE)
        self._update = self._redis.register_script(_UPDATE)
        self._touch = self._redis.register_script(_TOUCH)
        self._delete = self._redis.register_script(_DELETE)

    async def get(self, key: bytes) -> Record | None:
        """See `SessionStore`."""
        check_size(key)
        async with self._call():
            value, version, uses, left_ms = await self._get(keys=[PREFIX + key])
        return None if version is None else _record(value, version, uses, left_ms)

    async def put(self, key: bytes, value: bytes, lifetime_s: float) -> int:
        """See `SessionStore`."""
        check_size(key, value)
        async with self._call():
            return int(await self._put(keys=[PREFIX + key], args=[value, _ms(lifetime_s), CHANNEL, key]))

    async def get_or_create(self, key: bytes, value: bytes, lifetime_s: float) -> tuple[Record, bool]:
        """See `SessionStore`."""
        check_size(key, value)
        async with self._call():
            *found, made = await self._get_or_create(keys=[PREFIX + key], args=[value, _ms(lifetime_s)])
        return _record(*found), bool(made)

    async def update(self, key: bytes, value: bytes, version: int) -> int:
        """See `SessionStore`."""
        check_size(key, value)
        async with self._call():
            found = await self._update(keys=[PREFIX + key], args=[value, version, CHANNEL, key])
        if found is None:
            raise Conflict(self._place, "the record was changed by somebody else, or has ended")
        return int(found)

    async def touch(self, key: bytes, lifetime_s: float, *, uses: int = 0) -> int | None:
        """See `SessionStore`."""
        check_size(key)
        async with self._call():
            found = await self._touch(keys=[PREFIX + key], args=[_ms(lifetime_s), uses])
        return None if found is None else int(found)

    async def delete(self, key: bytes) -> None:
        """See `SessionStore`."""
        check_size(key)
        async with self._call():
            await self._delete(keys=[PREFIX + key], args=[CHANNEL, key])

    async def watch(self) -> AsyncGenerator[Changes, None]:
        """See `SessionStore`."""
        while True:
            with suppress(RedisError, OSError):  # TimeoutError is one
                async with self._redis.pubsub() as subscription:
                    async with asyncio.timeout(WATCH_S):
                        await subscription.subscribe(CHANNEL)
                    async for changes in _told(subscription):
                        yield changes
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """See `SessionStore`."""
        with suppress(RedisError, OSError):
            await self._redis.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                yield
        except TimeoutError:
            raise StoreTimeout(self._place, f"no answer within {self._timeout_s:g} s") from None
        except OutOfMemoryError:
            raise StoreFull(self._place, "has no room for more") from None
        except (RedisError, OSError) as error:
            if isinstance(error, RedisConnectionError | ReadOnlyError):
                # The others lead to the same server: one that has ended, or is no longer the primary.
                with suppress(RedisError, OSError):
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailable(self._place, str(error) or type(error).__name__) from None


async def _told(subscription: PubSub) -> AsyncGenerator[Changes, None]:
    """What comes over one connection. Ends when it is silent, with an error when it is lost."""
    asked = False
    while True:
        message = await subscription.get_message(timeout=WATCH_S)
        match message:
            case None if asked:
                return
            case None:
                await subscription.ping()
                asked = True
            case {"type": "subscribe"}:
                yield Changes(complete=False)  # the first, or the client's own reconnecting
            case {"type": "message", "data": bytes() as key}:
                yield Changes((key,))
                asked = False
            case _:
                asked = False


def _record(value: bytes, version: bytes, uses: bytes | int, left_ms: int) -> Record:
    return Record(value=value, version=int(version), uses=int(uses), left_s=left_ms / 1000)


def _ms(lifetime_s: float) -> int:
    return math.ceil(lifetime_s * 1000)
