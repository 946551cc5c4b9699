"""The store in etcd 3.4 or later.

All keys are under `pentaflow/`. The leader's key hangs on a lease of etcd, so that it goes when the leader no longer
renews. A commit compares the value of that key, which holds the epoch, in the same transaction that makes the changes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from controller.store.base import (
    Campaign,
    Change,
    Condition,
    Conflict,
    Fenced,
    Item,
    Leader,
    Put,
    StoreUnavailable,
    check_commit,
    next_epoch,
)
from controller.store.gateway import Gateway

_LEADER = "pentaflow/leader"
_EPOCH = "pentaflow/epoch"
_DATA = "pentaflow/data/"

# The gateway writes int64 as strings and bytes in base64, and leaves out what has its default value.
_Found = Sequence[Mapping[str, Any]]


class EtcdStore:
    """See `Store`; for controllers of several machines."""

    def __init__(self, gateway: Gateway) -> None:
        """`gateway` is this object's from now on."""
        self._gateway = gateway
        self._value, self._lease = b"", ""  # of the leader's key, as this controller wrote it

    async def get(self, key: str) -> Item | None:
        """See `Store`."""
        async with self._gateway.in_time():
            answer = await self._gateway.ask("kv/range", {"key": _encode(_DATA + key)})
            return _items(answer.get("kvs", [])).get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Mapping[str, Item]:
        """See `Store`."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        start = max(prefix, f"{after}\0" if after else "")
        if start >= end:
            return {}
        request = {"key": _encode(_DATA + start), "range_end": _encode(_DATA + end), "limit": str(limit)}
        async with self._gateway.in_time():
            return _items((await self._gateway.ask("kv/range", request)).get("kvs", []))

    async def commit(self, epoch: int, changes: Sequence[Change], conditions: Sequence[Condition] = ()) -> int:
        """See `Store`."""
        check_commit(changes)
        self._check_own(epoch)
        mine = self._value
        request = {
            "compare": [_value_is(mine), *(_revision_is(_DATA + c.key, c.revision) for c in conditions)],
            "success": [_operation(change) for change in changes],
            "failure": [_range(_LEADER), *(_range(_DATA + c.key) for c in conditions)],
        }
        async with self._gateway.in_time():
            answer = await self._gateway.ask("kv/txn", request, is_repeatable=False)
            if answer.get("succeeded"):
                return int(answer["header"]["revision"])
            holder, *found = _ranges(answer)
            if not holder or b64decode(holder[0]["value"]) != mine:
                _fence(epoch, holder)
            for condition, kvs in zip(conditions, found, strict=True):
                if (int(kvs[0]["mod_revision"]) if kvs else 0) != condition.revision:
                    raise Conflict(condition.key, "was changed by somebody else in the meantime")
        raise StoreUnavailable(self._gateway.place, "refused a transaction whose conditions hold")

    async def leader(self) -> Leader | None:
        """See `Store`."""
        async with self._gateway.in_time():
            return _maybe_leader((await self._gateway.ask("kv/range", {"key": _encode(_LEADER)})).get("kvs", []))

    async def campaign(self, *, name: str, address: str, lease_s: int, unix_s: int) -> Campaign:
        """See `Store`. A lease that is granted and not used ends by itself."""
        async with self._gateway.in_time():
            holder, last = _ranges(await self._gateway.ask("kv/txn", {"success": [_range(_LEADER), _range(_EPOCH)]}))
            if leader := _maybe_leader(holder):
                return Campaign(leader=leader, is_won=False)
            epoch = next_epoch(int(b64decode(last[0]["value"])) if last else 0, unix_s)
            value = json.dumps({"epoch": epoch, "name": name, "address": address}).encode()
            lease = (await self._gateway.ask("lease/grant", {"TTL": str(lease_s)}))["ID"]
            request = {
                "compare": [
                    _revision_is(_LEADER, 0),
                    _revision_is(_EPOCH, int(last[0]["mod_revision"]) if last else 0),
                ],
                "success": [
                    {"request_put": {"key": _encode(_LEADER), "value": _encode(value), "lease": lease}},
                    {"request_put": {"key": _encode(_EPOCH), "value": _encode(str(epoch).encode())}},
                ],
                "failure": [_range(_LEADER)],
            }
            answer = await self._gateway.ask("kv/txn", request, is_repeatable=False)
            if answer.get("succeeded"):
                self._value, self._lease = value, lease
                return Campaign(leader=Leader(epoch=epoch, name=name, address=address), is_won=True)
            if leader := _maybe_leader(_ranges(answer)[0]):
                return Campaign(leader=leader, is_won=False)
        raise StoreUnavailable(self._gateway.place, "another controller took and lost the lead in the meantime")

    async def renew(self, epoch: int) -> None:
        """See `Store`."""
        self._check_own(epoch)
        async with self._gateway.in_time():
            renewed = await self._gateway.ask("lease/keepalive", {"ID": self._lease})
            holder = (await self._gateway.ask("kv/range", {"key": _encode(_LEADER)})).get("kvs", [])
            if (
                int(renewed["result"].get("TTL", "0")) <= 0
                or not holder
                or b64decode(holder[0]["value"]) != self._value
            ):
                _fence(epoch, holder)

    async def resign(self, epoch: int) -> None:
        """See `Store`."""
        with suppress(Fenced):
            self._check_own(epoch)
            request = {
                "compare": [_value_is(self._value)],
                "success": [{"request_delete_range": {"key": _encode(_LEADER)}}],
            }
            self._value, self._lease = b"", ""
            async with self._gateway.in_time():
                await self._gateway.ask("kv/txn", request)

    async def close(self) -> None:
        """See `Store`."""
        await self._gateway.close()

    def _check_own(self, epoch: int) -> None:
        if not self._value or json.loads(self._value)["epoch"] != epoch:
            raise Fenced(f"epoch {epoch} is not this controller's, or has ended")


def _encode(data: str | bytes) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode()


def _range(key: str) -> dict[str, object]:
    return {"request_range": {"key": _encode(key)}}


def _operation(change: Change) -> dict[str, object]:
    if isinstance(change, Put):
        return {"request_put": {"key": _encode(_DATA + change.key), "value": _encode(change.value)}}
    return {"request_delete_range": {"key": _encode(_DATA + change.key)}}


def _value_is(value: bytes) -> dict[str, object]:
    """The leader's key is as this controller wrote it."""
    return {"key": _encode(_LEADER), "target": "VALUE", "result": "EQUAL", "value": _encode(value)}


def _revision_is(key: str, revision: int) -> dict[str, object]:
    """Of a key that does not exist etcd says that it is at revision 0."""
    return {"key": _encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def _ranges(answer: Mapping[str, Any]) -> list[_Found]:
    """What each `_range` of a transaction found."""
    return [response["response_range"].get("kvs", []) for response in answer["responses"]]


def _items(found: _Found) -> dict[str, Item]:
    return {
        b64decode(kv["key"]).decode().removeprefix(_DATA): Item(
            value=b64decode(kv.get("value", "")), revision=int(kv["mod_revision"])
        )
        for kv in found
    }


def _maybe_leader(found: _Found) -> Leader | None:
    return Leader(**json.loads(b64decode(found[0]["value"]))) if found else None


def _fence(epoch: int, holder: _Found) -> NoReturn:
    leader = _maybe_leader(holder)
    raise Fenced(f"epoch {epoch} has ended; {f'{leader.name} leads' if leader else 'nobody leads'}")
