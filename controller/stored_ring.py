"""A ring of ticket keys ↔ the octets that are sealed and kept."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pentaflow.ticket_keys import KeyRing, KeyState, TicketKey


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret: str = Field(pattern=r"^[0-9a-f]{160}$")
    state: KeyState
    since_s: float
    version: int
    unused_since_s: float | None


class _Ring(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    keys: list[_Key]
    is_wanted: bool


def encode_ring(ring: KeyRing) -> bytes:
    """JSON, with the secrets in clear."""
    keys = [
        {
            "secret": key.secret.hex(),
            "state": key.state.value,
            "since_s": key.since_s,
            "version": key.version,
            "unused_since_s": key.unused_since_s,
        }
        for key in ring.keys
    ]
    return json.dumps({"keys": keys, "is_wanted": ring.is_wanted}).encode()


def decode_ring(content: bytes) -> KeyRing | None:
    """What `encode_ring` has made; None: something else has."""
    try:
        ring = _Ring.model_validate_json(content)
    except ValidationError:
        return None
    keys = tuple(TicketKey(**key.model_dump() | {"secret": bytes.fromhex(key.secret)}) for key in ring.keys)
    return KeyRing(keys=keys, is_wanted=ring.is_wanted)
