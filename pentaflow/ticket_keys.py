"""The keys that TLS session tickets are encrypted with (STEKs), and how one takes the place of another [P4] (pure).

A vserver's ring holds all that are in use. Each goes one way:

    pre-distributed   everybody who serves the vserver gets it; it decrypts, nobody encrypts with it
    active            everybody has it; tickets are encrypted with it, from whenever a holder hears of it
    retiring          holders that have not heard of its successor yet may still encrypt with it; it decrypts
    (gone)            nobody has encrypted with it for as long as a ticket is good

Who hands a ring out counts what it hands out by versions and hears which ones the holders have taken: a key becomes
active when all holders have the version that brought it, and the time of a retiring one runs from when they have the
version that retired it. So a ticket of any holder can be decrypted by every other one for as long as it is good. The
holders of a controller's rings are nodes, those of a node's own rings its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pentaflow.config import Vserver

KEY_BYTES = 80
"""A name (16), which is sent in clear with each ticket; the keys of HMAC and cipher (32 each)."""
_SHOWN_BYTES = 4
MAX_KEYS = 16
"""In a ring; a rotation that would make more of them waits until one is gone."""


# Errors about what was received go into logs.
_SECRETS = ConfigDict(
    frozen=True, extra="forbid", ser_json_bytes="hex", val_json_bytes="hex", hide_input_in_errors=True
)
_Secret = Annotated[bytes, Field(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class KeyState(StrEnum):
    """Where a key is on its way."""

    PRE_DISTRIBUTED = "pre-distributed"
    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketKey:
    """A key.

    Attributes:
        secret: KEY_BYTES.
        state: what it is.
        since_s: since when, in seconds since 1970.
        version: what is handed out says so from this version on.
        unused_since_s: since when nobody encrypts with it any more, if it is retiring; None: somebody may.
    """

    secret: bytes = field(repr=False)
    state: KeyState
    since_s: float
    version: int
    unused_since_s: float | None = None

    @property
    def name(self) -> str:
        """What operators call it: the beginning of the name that tickets have."""
        return shown_name(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How long a key stays active, and for how long a ticket is good after it was made."""

    rotate_s: float
    lifetime_s: float


class VserverKeys(BaseModel):
    """What holders get of a ring.

    Attributes:
        issues: whether the first key encrypts; without, no tickets are made.
        keys: all of them decrypt.
    """

    model_config = _SECRETS

    issues: bool = False
    keys: tuple[Annotated[bytes, Field(min_length=KEY_BYTES, max_length=KEY_BYTES)], ...] = Field(
        default=(), repr=False
    )

    @model_validator(mode="after")
    def _first(self) -> Self:
        if self.issues and not self.keys:
            raise ValueError("without a key no tickets can be made")
        return self


class TicketKeySet(BaseModel):
    """What holders get of all rings; `version` 0: nobody has given any."""

    model_config = _SECRETS

    version: Annotated[int, Field(ge=0)] = 0
    vservers: Mapping[str, VserverKeys] = Field(default={}, repr=False)

    def of(self, vserver: str) -> VserverKeys:
        """A vserver's; none if there are none for it."""
        return self.vservers.get(vserver, VserverKeys())

    def names(self) -> dict[str, list[str]]:
        """Vserver → what operators call its keys."""
        return {vserver: [shown_name(secret) for secret in keys.keys] for vserver, keys in self.vservers.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The keys of a vserver: the active one, if there is one yet, the next one, and the retiring ones, newest first.

    `is_wanted`: an operator has asked for a rotation.
    """

    keys: tuple[TicketKey, ...] = ()
    is_wanted: bool = False

    @property
    def is_full(self) -> bool:
        """Whether a rotation has to wait until a key is gone."""
        return len(self.keys) >= MAX_KEYS

    def maybe(self, state: KeyState) -> TicketKey | None:
        """The first key in this state."""
        return next((key for key in self.keys if key.state is state), None)

    def handed_out(self) -> VserverKeys:
        """What holders get."""
        return VserverKeys(issues=self.maybe(KeyState.ACTIVE) is not None, keys=tuple(key.secret for key in self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRings:
    """The rings of all vservers, by name; `version` counts what was handed out."""

    version: int = 0
    rings: Mapping[str, KeyRing] = field(default_factory=dict)

    def handed_out(self) -> TicketKeySet:
        """What holders get."""
        vservers = {name: ring.handed_out() for name, ring in self.rings.items()}
        return TicketKeySet(version=self.version, vservers=vservers)

    def advanced(
        self,
        rotations: Mapping[str, Rotation],
        *,
        now_s: float,
        acknowledged: int,
        make_key: Callable[[], bytes],
    ) -> KeyRings:
        """As they should be now: see `advance`. Only if holders get something else it has another version.

        Args:
            rotations: of all vservers that there are; rings of others end.
            now_s: seconds since 1970.
            acknowledged: the newest version that all holders have taken.
            make_key: as for `advance`.
        """
        rings = {
            name: advance(
                self.rings.get(name, KeyRing()),
                rotation,
                now_s=now_s,
                acknowledged=acknowledged,
                version=self.version + 1,
                make_key=make_key,
            )
            for name, rotation in rotations.items()
        }
        following = KeyRings(version=self.version, rings=rings)
        return (
            following if following.handed_out() == self.handed_out() else replace(following, version=self.version + 1)
        )

    def begun(self, names: Iterable[str], *, now_s: float, make_key: Callable[[], bytes]) -> KeyRings:
        """With rings of these vservers only; those that had none make tickets at once: all holders begin with them."""
        version = self.version + 1
        rings = {name: self.rings.get(name) or _first_ring(version, now_s, make_key) for name in names}
        return self if rings == self.rings else KeyRings(version=version, rings=rings)

    def rotating(self, vserver: str) -> KeyRings:
        """The same, but a vserver's active key gives way as soon as all holders have the next one."""
        return replace(self, rings={**self.rings, vserver: replace(self.rings[vserver], is_wanted=True)})


def shown_name(secret: bytes) -> str:
    """What operators call a key: the beginning of the name that its tickets have."""
    return secret[:_SHOWN_BYTES].hex()


def rotation_of(vserver: Vserver) -> Rotation:
    """What a vserver's configuration says."""
    persistence = vserver.persistence
    return Rotation(rotate_s=persistence.ticket_keys.rotate_s, lifetime_s=persistence.ticket_lifetime_s)


def rotations_of(vservers: Iterable[Vserver]) -> dict[str, Rotation]:
    """The vservers that have ticket keys, by name: those with TLS."""
    return {vserver.name: rotation_of(vserver) for vserver in vservers if vserver.tls is not None}


def advance(
    ring: KeyRing, rotation: Rotation, *, now_s: float, acknowledged: int, version: int, make_key: Callable[[], bytes]
) -> KeyRing:
    """The ring as it should be now; to be asked again and again.

    Args:
        ring: as it is.
        rotation: the vserver's.
        now_s: seconds since 1970.
        acknowledged: the newest version that all holders have taken.
        version: the one that the returned ring will be handed out with, newer than any before; if what is handed out
            is as before, the holders need no new one.
        make_key: makes KEY_BYTES that nobody can guess.
    """
    # A clock that was set back must not make keys live longer.
    keys = [key if key.since_s <= now_s else replace(key, since_s=now_s) for key in ring.keys]
    active = next((key for key in keys if key.state is KeyState.ACTIVE), None)
    following = next((key for key in keys if key.state is KeyState.PRE_DISTRIBUTED), None)
    retiring = [
        seen
        for key in keys
        if key.state is KeyState.RETIRING and (seen := _maybe_kept(key, rotation, now_s, acknowledged))
    ]
    is_wanted = ring.is_wanted
    is_due = active is None or is_wanted or now_s - active.since_s >= rotation.rotate_s
    has_room = len(retiring) + 2 < MAX_KEYS
    if following is not None and following.version <= acknowledged and is_due and (active is None or has_room):
        if active is not None:
            retiring.insert(0, replace(active, state=KeyState.RETIRING, since_s=now_s, version=version))
        active = replace(following, state=KeyState.ACTIVE, since_s=now_s, version=version)
        following, is_wanted = None, False
    if following is None:
        following = TicketKey(secret=make_key(), state=KeyState.PRE_DISTRIBUTED, since_s=now_s, version=version)
    first = () if active is None else (active,)
    found = KeyRing(keys=(*first, following, *retiring), is_wanted=is_wanted)
    return ring if found == ring else found


def _first_ring(version: int, now_s: float, make_key: Callable[[], bytes]) -> KeyRing:
    states = (KeyState.ACTIVE, KeyState.PRE_DISTRIBUTED)
    return KeyRing(
        keys=tuple(TicketKey(secret=make_key(), state=state, since_s=now_s, version=version) for state in states)
    )


def _maybe_kept(key: TicketKey, rotation: Rotation, now_s: float, acknowledged: int) -> TicketKey | None:
    """A retiring key; None: no ticket that it could decrypt is good any more."""
    since_s = key.unused_since_s
    if since_s is None and key.version <= acknowledged:
        since_s = now_s
    if since_s is not None:
        since_s = min(since_s, now_s)
        if now_s - since_s >= rotation.lifetime_s:
            return None
    return key if since_s == key.unused_since_s else replace(key, unused_since_s=since_s)
