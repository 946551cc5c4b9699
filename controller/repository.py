"""What the controller keeps in the store, typed: configuration versions, intents, keys, answers, audit [O1].

| key | document |
|---|---|
| `configuration/current` | the number of the version in force |
| `configuration/versions/000000000001` | who made it, when, why |
| `configuration/texts/000000000001` | its text |
| `intents/NODE` | what the operator wants of a node |
| `hash-keys/VSERVER` | the key of the vserver's bucket hash |
| `ticket-keys/VSERVER` | the keys of the vserver's TLS tickets, sealed |
| `session-ids/VSERVER` | who makes which of the vserver's TLS session ids |
| `idempotency/KEY` | the answer that a request with this key got |
| `audit/000000000001`, `audit-bounds` | who asked for what; which of it is kept |

Any controller may read. Only the leader writes, one change after the other; that others can't is the store's to see to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.intents import Intent
from controller.session_ids.allocation import Allocation
from controller.store.base import MAX_CHANGES, Change, Condition, Delete, Item, Put, Store
from pentaflow.config import NodeState
from pentaflow.errors import ConfigurationError, PentaflowError

SCHEMA_VERSION: Literal[1] = 1
VERSIONS_KEPT = 100
AUDIT_KEPT = 10_000
IDEMPOTENCY_AGE_S = 86_400
IDEMPOTENCY_KEPT = 1000
MAX_TEXT_OCTETS = 1_000_000

_CURRENT = "configuration/current"
_VERSIONS = "configuration/versions/"
_TEXTS = "configuration/texts/"
_INTENTS = "intents/"
_HASH_KEYS = "hash-keys/"
_TICKET_KEYS = "ticket-keys/"
_SESSION_IDS = "session-ids/"
_IDEMPOTENCY = "idempotency/"
_AUDIT = "audit/"
_AUDIT_BOUNDS = "audit-bounds"


class StoredDocumentError(PentaflowError):
    """A document in the store is not one that this controller can read."""


class Document(BaseModel):
    """Base of what is stored: frozen, strict about keys, and marked with its version."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = SCHEMA_VERSION


class Current(Document):
    """Which configuration version is in force, which was before it (0: none), since when, and who made it so."""

    number: int = Field(ge=1)
    before: int = Field(ge=0)
    who: str
    at_s: float


class Version(Document):
    """A configuration version, without its text."""

    number: int = Field(ge=1)
    who: str
    at_s: float
    comment: str


class _Intent(Document):
    """As `controller.intents.Intent`."""

    state: NodeState
    since_ms: int
    deadline_ms: int | None
    who: str
    reason: str


class HashKey(Document):
    """The 64-bit key of a vserver's bucket hash, in hexadecimal."""

    key: str = Field(pattern=r"^[0-9a-f]{16}$")


class SealedKeys(Document):
    """The ring of ticket keys of a vserver, sealed by who keeps it (`controller.sealing`)."""

    sealed: str = Field(pattern=r"^[0-9a-f]+$", repr=False)


class SessionIdsDocument(Document):
    """See `controller.session_ids.allocation`."""

    allocation: Allocation


class Answer(Document):
    """What a request got, so that its repetition gets the same.

    `fingerprint` tells the request from another one that was sent with the same key.
    """

    fingerprint: str
    status: int
    body: str
    headers: dict[str, str]
    at_s: float


class AuditEntry(Document):
    """Who asked for what, and what came of it."""

    at_s: float
    who: str
    role: str
    address: str
    method: str
    path: str
    status: int
    detail: str = ""


class _AuditBounds(Document):
    first: int = Field(ge=1)
    next: int = Field(ge=1)


_D = TypeVar("_D", bound=Document)


class Repository:
    """The store's documents, for the controller with this epoch.

    Methods raise StoreUnavailable, and StoredDocumentError for a document that cannot be read; those that write raise
    Fenced, too.
    """

    def __init__(self, store: Store, epoch: int) -> None:
        """`epoch` is the caller's as leader; 0: it only reads."""
        self._store = store
        self._epoch = epoch
        self._answered: dict[str, float] | None = None

    # Configuration.

    async def current(self) -> tuple[Current, int] | None:
        """Which configuration is in force, and the revision of that; None: none was ever pushed."""
        item = await self._store.get(_CURRENT)
        return (_decode(Current, _CURRENT, item), item.revision) if item else None

    async def versions(self) -> list[Version]:
        """All versions that are kept, oldest first."""
        found = await self._store.list(_VERSIONS)
        return [_decode(Version, key, item) for key, item in found.items()]

    async def text(self, number: int) -> str | None:
        """The text of a version; None: there is no such version, or no longer."""
        item = await self._store.get(_numbered(_TEXTS, number))
        return item.value.decode() if item else None

    async def push(self, text: str, *, who: str, at_s: float, comment: str, expected: int) -> Version:
        """Keep a configuration as a new version and put it in force.

        Args:
            text: the file's.
            who: pushes it.
            at_s: seconds since 1970.
            comment: why.
            expected: revision of what was in force when this was decided; 0: nothing.

        Raises:
            Conflict: something else is in force in the meantime.
            ConfigurationError: the text is too long to be kept.
        """
        if len(text.encode()) > MAX_TEXT_OCTETS:
            raise ConfigurationError("configuration", f"is longer than {MAX_TEXT_OCTETS} octets")
        numbers = [version.number for version in await self.versions()]
        current = await self.current()
        version = Version(number=max(numbers, default=0) + 1, who=who, at_s=at_s, comment=comment)
        before = current[0].number if current else 0
        surplus = [number for number in numbers if number != before]
        surplus = surplus[: max(len(numbers) + 1 - VERSIONS_KEPT, 0)]
        await self._commit(
            [
                Put(_numbered(_VERSIONS, version.number), _encode(version)),
                Put(_numbered(_TEXTS, version.number), text.encode()),
                Put(_CURRENT, _encode(Current(number=version.number, before=before, who=who, at_s=at_s))),
                *(Delete(_numbered(folder, number)) for number in surplus for folder in (_VERSIONS, _TEXTS)),
            ],
            [Condition(_CURRENT, expected)],
        )
        return version

    async def select(self, number: int, *, who: str, at_s: float, expected: int) -> None:
        """Put a version that is kept in force again.

        Args:
            number: of the version.
            who: asks for it.
            at_s: seconds since 1970.
            expected: as for `push`.

        Raises:
            Conflict: something else is in force in the meantime.
            ConfigurationError: the version is not kept.
        """
        if await self._store.get(_numbered(_VERSIONS, number)) is None:
            raise ConfigurationError("configuration", f"version {number} is not kept")
        current = await self.current()
        before = current[0].number if current else 0
        selected = Current(number=number, before=before, who=who, at_s=at_s)
        await self._commit([Put(_CURRENT, _encode(selected))], [Condition(_CURRENT, expected)])

    # Nodes.

    async def intents(self) -> dict[str, Intent]:
        """By name of the node; nodes that nobody asked anything of are absent."""
        found = await self._store.list(_INTENTS)
        documents = {key.removeprefix(_INTENTS): _decode(_Intent, key, item) for key, item in found.items()}
        return {node: Intent(**document.model_dump(exclude={"schema_version"})) for node, document in documents.items()}

    async def set_intent(self, node: str, intent: Intent | None) -> None:
        """Keep what is wanted of a node; None: what the configuration says."""
        key = _INTENTS + node
        await self._commit([Put(key, _encode(_Intent(**asdict(intent)))) if intent else Delete(key)])

    # Hash keys.

    async def hash_keys(self) -> dict[str, int]:
        """By name of the vserver: 64 bits each."""
        found = await self._store.list(_HASH_KEYS)
        return {key.removeprefix(_HASH_KEYS): int(_decode(HashKey, key, item).key, 16) for key, item in found.items()}

    async def keep_hash_keys(self, keys: Mapping[str, int]) -> None:
        """Keep the keys of these vservers; those of others stay. Nothing is written if nothing changes."""
        known = await self.hash_keys()
        changes = [
            Put(_HASH_KEYS + vserver, _encode(HashKey(key=f"{key:016x}")))
            for vserver, key in keys.items()
            if known.get(vserver) != key
        ]
        for start in range(0, len(changes), MAX_CHANGES):
            await self._commit(changes[start : start + MAX_CHANGES])

    # Ticket keys.

    async def ticket_keys(self) -> dict[str, bytes]:
        """By name of the vserver: sealed."""
        found = await self._store.list(_TICKET_KEYS)
        documents = {key.removeprefix(_TICKET_KEYS): _decode(SealedKeys, key, item) for key, item in found.items()}
        return {vserver: bytes.fromhex(document.sealed) for vserver, document in documents.items()}

    async def keep_ticket_keys(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep what is sealed for these vservers; None: nothing any more. Those of others stay."""
        made: list[Change] = [
            Delete(_TICKET_KEYS + vserver)
            if sealed is None
            else Put(_TICKET_KEYS + vserver, _encode(SealedKeys(sealed=sealed.hex())))
            for vserver, sealed in changes.items()
        ]
        for start in range(0, len(made), MAX_CHANGES):
            await self._commit(made[start : start + MAX_CHANGES])

    # Session ids.

    async def session_ids(self) -> dict[str, Allocation]:
        """By name of the vserver."""
        found = await self._store.list(_SESSION_IDS)
        return {
            key.removeprefix(_SESSION_IDS): _decode(SessionIdsDocument, key, item).allocation
            for key, item in found.items()
        }

    async def keep_session_ids(self, vserver: str, allocation: Allocation) -> None:
        """Keep who makes which session ids of a vserver."""
        await self._commit([Put(_SESSION_IDS + vserver, _encode(SessionIdsDocument(allocation=allocation)))])

    # Requests.

    async def maybe_answer(self, key: str, *, now_s: float) -> Answer | None:
        """What a request with this idempotency key got within the last IDEMPOTENCY_AGE_S."""
        item = await self._store.get(_IDEMPOTENCY + key)
        answer = _decode(Answer, _IDEMPOTENCY + key, item) if item else None
        return answer if answer and now_s - answer.at_s < IDEMPOTENCY_AGE_S else None

    async def keep_answer(self, key: str, answer: Answer) -> None:
        """Keep what a request got; answers that are too old, or too many, are dropped, the oldest first."""
        if self._answered is None:
            found = await self._store.list(_IDEMPOTENCY)
            self._answered = {k: _decode(Answer, k, item).at_s for k, item in found.items()}
        full_key = _IDEMPOTENCY + key
        others = sorted((at_s, k) for k, at_s in self._answered.items() if k != full_key)
        surplus = [
            k
            for i, (at_s, k) in enumerate(others)
            if i <= len(others) - IDEMPOTENCY_KEPT or answer.at_s - at_s >= IDEMPOTENCY_AGE_S
        ][: MAX_CHANGES - 1]
        await self._commit([Put(full_key, _encode(answer)), *map(Delete, surplus)])
        self._answered[full_key] = answer.at_s
        for k in surplus:
            del self._answered[k]

    async def append_audit(self, entry: AuditEntry) -> int:
        """Write down who asked for what; the entry's number. The last AUDIT_KEPT are kept."""
        item = await self._store.get(_AUDIT_BOUNDS)
        bounds = _decode(_AuditBounds, _AUDIT_BOUNDS, item) if item else _AuditBounds(first=1, next=1)
        number = bounds.next
        first = min(max(bounds.first, number + 1 - AUDIT_KEPT), bounds.first + MAX_CHANGES - 2)
        await self._commit(
            [
                Put(_numbered(_AUDIT, number), _encode(entry)),
                Put(_AUDIT_BOUNDS, _encode(_AuditBounds(first=first, next=number + 1))),
                *(Delete(_numbered(_AUDIT, old)) for old in range(bounds.first, first)),
            ],
            [Condition(_AUDIT_BOUNDS, item.revision if item else 0)],
        )
        return number

    async def audit(self, *, after: int = 0, limit: int) -> dict[int, AuditEntry]:
        """At most `limit` entries with higher numbers than `after`, oldest first."""
        found = await self._store.list(_AUDIT, after=_numbered(_AUDIT, after), limit=limit)
        return {int(key.removeprefix(_AUDIT)): _decode(AuditEntry, key, item) for key, item in found.items()}

    async def _commit(self, changes: Iterable[Change], conditions: Iterable[Condition] = ()) -> None:
        await self._store.commit(self._epoch, tuple(changes), tuple(conditions))


def _numbered(folder: str, number: int) -> str:
    """Numbers of one width, so that keys are in the order of numbers."""
    return f"{folder}{number:012d}"


def _encode(document: Document) -> bytes:
    return document.model_dump_json().encode()


def _decode(kind: type[_D], key: str, item: Item) -> _D:
    try:
        return kind.model_validate_json(item.value)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",):
            message = f"is of version {first['input']}; this controller reads version {SCHEMA_VERSION}"
        else:
            message = f"is no {kind.__name__.lstrip('_')}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StoredDocumentError(f"store, key {key}", message) from None
