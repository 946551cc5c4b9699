"""Asks nodes for their open connections per bucket (shell), and holds what they said: proof that a bucket is idle [B4].

A bucket without packets may still hold quiet keep-alive connections; only its node knows. An answer proves something
about a bucket if its question *started* after the switch said that the bucket is idle: then nothing that the bucket had
before can have been missed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import httpx
from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from pentaflow.config import Node
from pentaflow.hash import HashKeyKind
from pentaflow.modes import NodeKind

INTERVAL_S = 1.0
TIMEOUT_S = 2.0
MAX_AGE_S = 5.0
MAX_ANSWER_BYTES = 16 << 20
_KIND_NAMES = {HashKeyKind.SRC: "src", HashKeyKind.SRC_PORT: "src_port", HashKeyKind.FIVE_TUPLE: "5tuple"}

_Count = Annotated[int, Strict(), Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFunction:
    """What takes a client to a bucket of a vserver; `hash_key` is 64 bits and secret."""

    name: str
    kind: HashKeyKind
    hash_key: int
    buckets: int

    def __repr__(self) -> str:
        return f"BucketFunction({self.name})"


#: Node id → vserver id → its bucket function: whom to ask about what, now.
Wanted = Callable[[], Mapping[int, Mapping[int, BucketFunction]]]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    open: _Count
    buckets: dict[Annotated[int, Field(ge=0, le=65_535)], _Count]


_DOCUMENT = TypeAdapter(dict[str, _Answer])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    open_by_bucket: Mapping[int, int]
    buckets: int
    asked_ns: int


class OpenConnections:
    """The nodes' last answers (pure)."""

    def __init__(self, *, max_age_ns: int = int(MAX_AGE_S * 1e9)) -> None:
        """`max_age_ns`: from asking on, for how long an answer counts."""
        self._max_age_ns = max_age_ns
        self._held: dict[tuple[int, int], _Held] = {}

    def take(self, node_id: int, asked: Mapping[int, BucketFunction], asked_ns: int, body: bytes) -> None:
        """A node has answered.

        Args:
            node_id: the node.
            asked: vserver id → bucket function of the question.
            asked_ns: the monotonic clock before the question was sent.
            body: of the response.

        Raises:
            ValueError: the answer is not one to this question; what was held before stays, until it is too old.
        """
        try:
            document = _DOCUMENT.validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"an answer that cannot be used: {first['msg']}") from None
        taken = {}
        for vserver_id, function in asked.items():
            answer = document.get(function.name)
            if answer is None:
                raise ValueError(f"an answer without vserver {function.name}")
            if max(answer.buckets, default=0) >= function.buckets or sum(answer.buckets.values()) != answer.open:
                raise ValueError(f"an answer about vserver {function.name} that is at odds with itself")
            taken[node_id, vserver_id] = _Held(
                open_by_bucket=answer.buckets, buckets=function.buckets, asked_ns=asked_ns
            )
        self._held |= taken

    def maybe_open(self, vserver_id: int, bucket: int, node_id: int, *, asked_after_ns: int, now_ns: int) -> int | None:
        """Open connections of a bucket on a node.

        Args:
            vserver_id: the vserver.
            bucket: its bucket.
            node_id: the node that served it.
            asked_after_ns: the question must have been asked later: when the bucket's idle notice came, or its split.
            now_ns: the monotonic clock.

        Returns:
            None when it is not known: never asked, no usable answer, asked too early or too long ago.
        """
        held = self._held.get((node_id, vserver_id))
        if held is None or held.asked_ns <= asked_after_ns or now_ns - held.asked_ns > self._max_age_ns:
            return None
        return held.open_by_bucket.get(bucket, 0) if bucket < held.buckets else None

    def maybe_total(self, vserver_id: int, node_id: int, *, asked_after_ns: int, now_ns: int) -> int | None:
        """Open connections of a vserver on a node; see `maybe_open`."""
        held = self._held.get((node_id, vserver_id))
        if held is None or held.asked_ns <= asked_after_ns or now_ns - held.asked_ns > self._max_age_ns:
            return None
        return sum(held.open_by_bucket.values())

    def forget(self, node_id: int) -> None:
        """A node was taken out or has started anew."""
        self._held = {key: held for key, held in self._held.items() if key[0] != node_id}


class ConnectionPoller:
    """Asks the nodes that someone has a reason to ask, each once in `interval_s`, and puts the answers away."""

    def __init__(
        self,
        nodes: Mapping[int, Node],
        wanted: Wanted,
        holder: OpenConnections,
        report: Callable[[int, str], None],
        *,
        tls: ssl.SSLContext | None = None,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """
        Args:
            nodes: all nodes by id.
            wanted: asked before each round; nodes that it does not name are left alone.
            holder: where answers go.
            report: told the node's id and the failure, empty for an answer.
            tls: what nodes are asked over, and checked by; None: plain HTTP.
            interval_s: from one round's start to the next one's.
            timeout_s: for one node's whole answer.
        """
        self.nodes = nodes
        self.tls = tls
        self._wanted = wanted
        self._holder = holder
        self._report = report
        self._interval_s = interval_s
        self._timeout_s = timeout_s

    def client(self) -> httpx.AsyncClient:
        """What to ask with."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        return httpx.AsyncClient(timeout=self._timeout_s, limits=limits, trust_env=False, verify=self.tls or False)

    def url(self, node: Node, path: str) -> str:
        """Of something at a node's management address."""
        return f"{'https' if self.tls else 'http'}://{node.management}{path}"

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            started = time.monotonic()
            async with self.client() as client:
                await self.ask_once(client)
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic() - started)))

    async def ask_once(self, client: httpx.AsyncClient, wanted: Wanted | None = None) -> None:
        """One round: all wanted nodes at the same time; `wanted` in place of the usual ones."""
        async with asyncio.TaskGroup() as group:
            for node_id, functions in (wanted or self._wanted)().items():
                node = self.nodes.get(node_id)
                if functions and node is not None and node.kind is NodeKind.TLS:
                    group.create_task(self._ask(client, node, functions))

    async def _ask(self, client: httpx.AsyncClient, node: Node, functions: Mapping[int, BucketFunction]) -> None:
        question = {
            "vservers": {
                function.name: {
                    "hash": _KIND_NAMES[function.kind],
                    "hash_key": f"{function.hash_key:016x}",
                    "buckets": function.buckets,
                }
                for function in functions.values()
            }
        }
        failure = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                asked_ns = time.monotonic_ns()
                body = await ask_node(client, self.url(node, "/open-connections"), question)
            self._holder.take(node.id, functions, asked_ns, body)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            failure = str(error) or type(error).__name__
        self._report(node.id, failure)


async def ask_node(client: httpx.AsyncClient, url: str, question: object) -> bytes:
    """What a node answers to a question in JSON: the body of a 200.

    Raises:
        httpx.HTTPError: the node can't be reached.
        ValueError: the body is too long, or the node refuses, with its own words.
    """
    async with client.stream("POST", url, json=question) as response:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    if response.status_code != httpx.codes.OK:
        raise ValueError(body[:200].decode(errors="replace").strip() or f"status {response.status_code}")
    return body
