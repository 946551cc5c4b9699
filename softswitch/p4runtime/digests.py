"""Digest lists: buffered, free of duplicates, acknowledged (P4Runtime 1.5, "DigestEntry").

A message waits until the list is full or old enough. Once sent it is not sent again until the list is acknowledged or
the acknowledgement is overdue. Digests are advice, not a reliable transport: beyond the bounds below they are dropped
and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pentaflow.p4runtime import p4d, p4r
from softswitch.p4runtime.bytestrings import encode_bits
from softswitch.p4runtime.p4info import DigestInfo
from softswitch.p4runtime.status import Code, RequestError

MAX_LIST_SIZE = 1024
MAX_UNACKNOWLEDGED = 65536

Values = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestList:
    """A list that is due: distinct messages, oldest first."""

    list_id: int
    messages: tuple[Values, ...]


class DigestStream:
    """The messages of one digest.

    Args:
        max_timeout_ns: how long a message may wait for its list to fill.
        max_list_size: how many messages fill a list; 0 leaves it to `MAX_LIST_SIZE`.
        ack_timeout_ns: how long a message that was sent is held back, unless its list is acknowledged.
    """

    def __init__(self, *, max_timeout_ns: int, max_list_size: int, ack_timeout_ns: int) -> None:
        self.dropped = 0
        self._buffer: dict[Values, None] = {}
        self._oldest_ns = 0
        self._sent: dict[int, tuple[int, tuple[Values, ...]]] = {}
        self._cache: set[Values] = set()
        self._next_list_id = 1
        self.configure(max_timeout_ns=max_timeout_ns, max_list_size=max_list_size, ack_timeout_ns=ack_timeout_ns)

    def configure(self, *, max_timeout_ns: int, max_list_size: int, ack_timeout_ns: int) -> None:
        """Change the parameters; what waits, and what is unacknowledged, stays."""
        self._max_timeout_ns = max_timeout_ns
        self._list_size = min(max_list_size or MAX_LIST_SIZE, MAX_LIST_SIZE)
        self._ack_timeout_ns = ack_timeout_ns

    def offer(self, message: Values, now_ns: int) -> DigestList | None:
        """Take a message from the data plane; returns the list that it completes."""
        self._expire(now_ns)
        if message in self._cache or message in self._buffer:
            return None
        if len(self._cache) >= MAX_UNACKNOWLEDGED:
            self.dropped += 1
            return None
        if not self._buffer:
            self._oldest_ns = now_ns
        self._buffer[message] = None
        return self._flush(now_ns) if len(self._buffer) >= self._list_size else self.take(now_ns)

    def take(self, now_ns: int) -> DigestList | None:
        """The list whose first message has waited long enough."""
        deadline_ns = self.deadline_ns()
        return self._flush(now_ns) if deadline_ns is not None and now_ns >= deadline_ns else None

    def deadline_ns(self) -> int | None:
        """When `take` will return a list; None while nothing waits."""
        return self._oldest_ns + self._max_timeout_ns if self._buffer else None

    def acknowledge(self, list_id: int) -> None:
        """The client has dealt with the list; one that is unknown, or known no more, is ignored."""
        self._forget(list_id)

    def reset_cache(self) -> None:
        """Another client is primary: it has seen nothing yet."""
        self._sent.clear()
        self._cache.clear()

    def _flush(self, now_ns: int) -> DigestList:
        messages = tuple(self._buffer)
        self._buffer.clear()
        list_id = self._next_list_id
        self._next_list_id += 1
        if self._ack_timeout_ns:
            self._sent[list_id] = (now_ns, messages)
            self._cache.update(messages)
        return DigestList(list_id=list_id, messages=messages)

    def _expire(self, now_ns: int) -> None:
        while self._sent:
            list_id, (sent_ns, _) = next(iter(self._sent.items()))
            if now_ns - sent_ns < self._ack_timeout_ns:
                break
            self._forget(list_id)

    def _forget(self, list_id: int) -> None:
        _, messages = self._sent.pop(list_id, (0, ()))
        self._cache.difference_update(messages)


class Digests:
    """All digests of a pipeline: which are switched on, and their streams."""

    def __init__(self, infos: Mapping[int, DigestInfo]) -> None:
        self.unconfigured = 0
        self._infos = infos
        self._ids = {info.name: info.id for info in infos.values()}
        self._configs: dict[int, p4r.DigestEntry.Config] = {}
        self._streams: dict[int, DigestStream] = {}

    @property
    def dropped(self) -> int:
        """How many messages were dropped because too many were unacknowledged."""
        return sum(stream.dropped for stream in self._streams.values())

    def write(self, kind: p4r.Update.Type.ValueType, message: p4r.DigestEntry) -> None:
        """Switch a digest on or off, or change its parameters.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        info = self._find(message.digest_id)
        known = self._streams.get(info.id)
        if kind == p4r.Update.INSERT:
            if known is not None:
                raise RequestError(Code.ALREADY_EXISTS, f"digest '{info.name}' is configured already")
        elif known is None:
            raise RequestError(Code.NOT_FOUND, f"digest '{info.name}' is not configured")
        if kind == p4r.Update.DELETE:
            del self._streams[info.id]
            del self._configs[info.id]
            return
        config = message.config
        for name in ("max_timeout_ns", "max_list_size", "ack_timeout_ns"):
            if getattr(config, name) < 0:
                raise RequestError(Code.INVALID_ARGUMENT, f"{name} of digest '{info.name}' is {getattr(config, name)}")
        parameters = {
            "max_timeout_ns": config.max_timeout_ns,
            "max_list_size": config.max_list_size,
            "ack_timeout_ns": config.ack_timeout_ns,
        }
        if known is None:
            self._streams[info.id] = DigestStream(**parameters)
        else:
            known.configure(**parameters)
        self._configs[info.id] = p4r.DigestEntry.Config(**parameters)

    def read(self, query: p4r.DigestEntry) -> Iterator[p4r.Entity]:
        """One digest's configuration, or those of all for id 0; raises RequestError before the first."""
        if query.digest_id:
            info = self._find(query.digest_id)
            if info.id not in self._configs:
                raise RequestError(Code.NOT_FOUND, f"digest '{info.name}' is not configured")
        chosen = [query.digest_id] if query.digest_id else list(self._configs)
        return (
            p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=digest_id, config=self._configs[digest_id]))
            for digest_id in chosen
        )

    def offer(self, name: str, values: Values, now_ns: int) -> p4r.DigestList | None:
        """Take a message from the data plane; returns the list that it completes, without a timestamp."""
        digest_id = self._ids.get(name, 0)
        stream = self._streams.get(digest_id)
        if stream is None:
            self.unconfigured += 1
            return None
        return self._encode(digest_id, stream.offer(values, now_ns))

    def take(self, now_ns: int) -> list[p4r.DigestList]:
        """The lists that are due."""
        due = (self._encode(digest_id, stream.take(now_ns)) for digest_id, stream in self._streams.items())
        return [digest_list for digest_list in due if digest_list is not None]

    def deadline_ns(self) -> int | None:
        """When `take` will have something to return; None while nothing waits."""
        deadlines = (stream.deadline_ns() for stream in self._streams.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def acknowledge(self, ack: p4r.DigestListAck) -> None:
        """A client's acknowledgement; raises RequestError INVALID_ARGUMENT for a digest that is not in P4Info."""
        info = self._find(ack.digest_id)
        if info.id in self._streams:
            self._streams[info.id].acknowledge(ack.list_id)

    def reset_caches(self) -> None:
        """Another client is primary: it has seen nothing yet."""
        for stream in self._streams.values():
            stream.reset_cache()

    def _find(self, digest_id: int) -> DigestInfo:
        try:
            return self._infos[digest_id]
        except KeyError:
            raise RequestError(Code.INVALID_ARGUMENT, f"there is no digest with id {digest_id}") from None

    def _encode(self, digest_id: int, due: DigestList | None) -> p4r.DigestList | None:
        if due is None:
            return None
        message = p4r.DigestList(digest_id=digest_id, list_id=due.list_id)
        is_struct = self._infos[digest_id].is_struct
        for values in due.messages:
            members = p4d.P4StructLike(members=[p4d.P4Data(bitstring=encode_bits(value)) for value in values])
            message.data.append(p4d.P4Data(struct=members) if is_struct else p4d.P4Data(tuple=members))
        return message
