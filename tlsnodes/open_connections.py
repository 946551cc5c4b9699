"""How many open connections a node has in each bucket [N8]: what the controller asks, checked, and the answer (pure).

A bucket function is the vserver's own: hash key kind, key and number of buckets; the node does not keep it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from pentaflow.addresses import IpAddress
from pentaflow.config import Buckets, HashKey, HashKind, Model, Name
from pentaflow.hash_arrays import client_hashes
from pentaflow.misplaced import nearest

MAX_QUESTION_BYTES = 1 << 18
MAX_VSERVERS = 1024
_TCP = 6


class BucketFunction(Model):
    """What takes a client to a bucket of one vserver."""

    hash: HashKind
    hash_key: HashKey
    buckets: Buckets


class Question(Model):
    """Vserver name → its bucket function."""

    vservers: Annotated[Mapping[Name, BucketFunction], Field(min_length=1, max_length=MAX_VSERVERS)]


class BadQuestion(Exception):
    """The question cannot be answered; `status` is for HTTP, the text never holds a hash key."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenConnections:
    """A vserver's clients at one moment.

    Attributes:
        vip: address that they are connected to.
        port: likewise.
        clients: packed address and port of each, network byte order, all of the VIP's family; empty ones
            do not count.
    """

    vip: IpAddress
    port: int
    clients: Sequence[bytes]


def parse_question(body: bytes, known: Sequence[str]) -> Question:
    """Check the body of a request.

    Args:
        body: JSON.
        known: names of the vservers that the node runs.

    Raises:
        BadQuestion: 400 when it is not JSON; 422 when something in it is wrong or no vserver has a name.
    """
    try:
        question = Question.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        place = ".".join(part if str(part).isprintable() else repr(part) for part in map(str, first["loc"]))
        if first["type"] == "json_invalid":
            raise BadQuestion(400, f"not JSON: {message.removeprefix('Invalid JSON: ')}") from None
        raise BadQuestion(422, f"{place}: {message}" if place else message) from None
    for name in question.vservers:
        if name not in known:
            raise BadQuestion(422, f"vservers.{name}: this node has no such vserver{nearest(name, list(known))}")
    return question


def count_by_bucket(connections: OpenConnections, function: BucketFunction) -> dict[str, Any]:
    """`{"open": n, "buckets": {bucket: n}}`, only of buckets that have open connections."""
    layout = np.dtype([("address", ">u4", (len(connections.vip.packed) // 4,)), ("port", ">u2")])
    clients = np.frombuffer(b"".join(connections.clients), layout)
    hashes = client_hashes(
        int(function.hash_key.get_secret_value(), 16),
        function.hash,
        clients["address"].astype(np.uint32),
        clients["port"].astype(np.uint32),
        connections.vip,
        connections.port,
        _TCP,
    )
    counts = np.bincount(hashes & np.uint32(function.buckets - 1))
    buckets = np.flatnonzero(counts)
    return {
        "open": len(clients),
        "buckets": dict(zip(map(str, buckets.tolist()), counts[buckets].tolist(), strict=True)),
    }
