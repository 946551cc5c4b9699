"""What the demo's traffic proves (pure): each result says by itself what does not hold.

Every `problems` is a tuple of sentences, empty when all holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pentaflow.addresses import IpAddress
from pentaflow.demo.traffic import Request, Resumption, first_failure
from pentaflow.hash import HashKeyKind, client_hash

_TCP = 6
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMap:
    """A vserver's bucket map as the controller states it, with the hash that leads into it."""

    version: int
    nodes: tuple[str, ...]
    hash_key: int
    kind: HashKeyKind
    vip: IpAddress
    port: int

    def node_of(self, client: IpAddress, client_port: int) -> str:
        """The node that serves this client's connection."""
        value = client_hash(self.hash_key, self.kind, client, client_port, self.vip, self.port, _TCP)
        return self.nodes[value & (len(self.nodes) - 1)]

    def maybe_node_of(self, request: Request) -> str | None:
        """The node of a request's connection; None if it had none."""
        return self.node_of(request.maybe_client, request.client_port) if request.maybe_client else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShare:
    """How many connections a node served, and how many buckets it owns."""

    connections: int
    buckets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How connections spread over the nodes; `as_mapped` of them went where the bucket map says."""

    connections: int
    as_mapped: int
    by_node: Mapping[str, NodeShare]
    problems: tuple[str, ...]


def judge_spread(requests: Sequence[Request], bucket_map: BucketMap) -> Spread:
    """Compare each request's node with the bucket map; every node that owns buckets must have served some."""
    served = Counter(r.node for r in requests if r.ok)
    owned = Counter(bucket_map.nodes)
    astray = [
        f"{r.maybe_client}:{r.client_port} was served by {r.node}, but its bucket is {expected}'s"
        for r in requests
        if r.ok and (expected := bucket_map.maybe_node_of(r)) != r.node
    ]
    ports = {(r.maybe_client, r.client_port) for r in requests if r.ok}
    problems = [
        first_failure(requests),
        f"{len(astray)} connections went astray, for one: {astray[0]}" if astray else "",
        *(f"{node} owns {count} buckets but served no connection" for node, count in owned.items() if not served[node]),
        "" if len(ports) == sum(served.values()) else f"only {len(ports)} different client ports were used",
    ]
    return Spread(
        connections=len(requests),
        as_mapped=sum(served.values()) - len(astray),
        by_node={n: NodeShare(connections=served[n], buckets=owned[n]) for n in sorted(owned | served)},
        problems=_sentences(problems),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """Where the requests of one session went, over which nodes; and where requests without cookies went."""

    requests: int
    server: str
    to_server: int
    by_node: Mapping[str, int]
    without_cookie: Mapping[str, int]
    problems: tuple[str, ...]


def judge_persistence(
    login: Request, session: Sequence[Request], without: Sequence[Request], *, nodes: int, servers: int
) -> Persistence:
    """All of `session` must reach the server of `login`, through several nodes; those `without` reach every server.

    Args:
        login: the request that set the cookies.
        session: requests with the cookies.
        without: requests without any.
        nodes: how many nodes the session must pass through at least.
        servers: how many servers there are.
    """
    by_node = Counter(r.node for r in session if r.ok)
    by_server = Counter(r.server for r in session if r.ok)
    unbound = Counter(r.server for r in without if r.ok)
    elsewhere = sorted(by_server.keys() - {login.server})
    problems = [
        first_failure([login, *session, *without]),
        f"the session of {login.server} also reached {', '.join(elsewhere)}" if elsewhere else "",
        f"the session passed through {len(by_node)} nodes; expected {nodes}" if len(by_node) < nodes else "",
        f"without cookies only {len(unbound)} of {servers} servers were reached" if len(unbound) < servers else "",
    ]
    return Persistence(
        requests=len(session),
        server=login.server,
        to_server=by_server[login.server],
        by_node=dict(sorted(by_node.items())),
        without_cookie=dict(sorted(unbound.items())),
        problems=_sentences(problems),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tickets:
    """Where a client went that has nothing but TLS tickets, while the keys of the tickets changed.

    `resumed` of the `connections` after the first one were resumed; `keys`: names of those that were active, in order.
    """

    connections: int
    version: str
    resumed: int
    server: str
    to_server: int
    by_node: Mapping[str, int]
    keys: tuple[str, ...]
    problems: tuple[str, ...]


def judge_tickets(seen: Sequence[Resumption], keys: Sequence[str], *, nodes: int, rotations: int) -> Tickets:
    """Every connection but the first must be resumed and reach the first one's server, through all nodes.

    Args:
        seen: in order.
        keys: the name of the active key before the first rotation and after each.
        nodes: how many nodes the client must pass through at least.
        rotations: how many times the key was to change.
    """
    first, later = seen[0], seen[1:]
    failed = [one.error for one in seen if one.error]
    answered = [one for one in later if not one.error]
    by_node = Counter(one.node for one in seen if not one.error)
    elsewhere = sorted({one.server for one in answered} - {first.server})
    resumed = sum(one.resumed for one in later)
    problems = [
        f"{len(failed)} of {len(seen)} connections failed, the first: {failed[0]}" if failed else "",
        f"{len(answered) - resumed} connections were not resumed" if resumed < len(answered) else "",
        f"the tickets of {first.server} also led to {', '.join(elsewhere)}" if elsewhere else "",
        f"the client passed through {len(by_node)} nodes; expected {nodes}" if len(by_node) < nodes else "",
        f"the key changed {len(set(keys)) - 1} times; expected {rotations}" if len(set(keys)) <= rotations else "",
    ]
    return Tickets(
        connections=len(later),
        version=first.version,
        resumed=resumed,
        server=first.server,
        to_server=sum(one.server == first.server for one in answered),
        by_node=dict(sorted(by_node.items())),
        keys=tuple(keys),
        problems=_sentences(problems),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A request of the steady load, and when it was over (monotonic clock)."""

    finished_ns: int
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """What the controller says about one failover."""

    node: str
    decided_ns: int
    switch_writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailure:
    """What the failure of a node cost.

    Times are from the kill: `detection_ms` to the controller's decision, `recovery_ms` to another node's first answer
    to a client in one of its buckets, `last_failure_ms` to the end of the last request that failed. `requests` and
    `failed_requests` count from the kill to the end of the load.
    """

    node: str
    requests: int
    failed_requests: int
    detection_ms: float
    recovery_ms: float | None
    last_failure_ms: float
    switch_writes: int
    expected_switch_writes: int
    problems: tuple[str, ...]


def judge_failure(
    samples: Sequence[Sample],
    killed_ns: int,
    failover: Failover,
    bucket_map: BucketMap,
    *,
    expected_writes: int,
    survivors: int,
) -> NodeFailure:
    """Judge a load that went on until it had recovered (`recovered`).

    Args:
        samples: the whole load, in order of their ends.
        killed_ns: when the node was killed.
        failover: the controller's record.
        bucket_map: as it was before the kill.
        expected_writes: how many switch updates moving the node's traffic must take.
        survivors: how many nodes are left.
    """
    before = [s.request for s in samples if s.finished_ns <= killed_ns]
    after = [s for s in samples if s.finished_ns > killed_ns]
    failures = [s.finished_ns for s in after if not s.request.ok]
    last_failure_ns = max(failures, default=killed_ns)
    served = Counter(s.request.node for s in after if s.finished_ns > last_failure_ns)
    # What the node itself answered was under way when it was killed.
    answered = [s for s in after if s.request.ok and s.request.node != failover.node]
    moved = [s.finished_ns for s in answered if bucket_map.maybe_node_of(s.request) == failover.node]
    problems = [
        f"before the kill {said}" if (said := first_failure(before)) else "",
        "" if moved else f"no client in a bucket of {failover.node} was answered after the kill",
        f"{failover.node} still served after the recovery" if served[failover.node] else "",
        f"{len(served)} nodes served after the recovery; expected {survivors}" if len(served) != survivors else "",
        f"the failover took {failover.switch_writes} switch writes; expected {expected_writes}"
        if failover.switch_writes != expected_writes
        else "",
    ]
    return NodeFailure(
        node=failover.node,
        requests=len(after),
        failed_requests=len(failures),
        detection_ms=_ms(failover.decided_ns - killed_ns),
        recovery_ms=_ms(min(moved) - killed_ns) if moved else None,
        last_failure_ms=_ms(last_failure_ns - killed_ns),
        switch_writes=failover.switch_writes,
        expected_switch_writes=expected_writes,
        problems=_sentences(problems),
    )


def recovered(samples: Sequence[Sample], since_ns: int, now_ns: int, *, quiet_ns: int, successes: int) -> bool:
    """Whether a load has come back: `successes` requests in a row, and none failed for `quiet_ns`."""
    failures = [s.finished_ns for s in samples if s.finished_ns > since_ns and not s.request.ok]
    last_ns = max(failures, default=since_ns)
    return now_ns - last_ns >= quiet_ns and sum(s.finished_ns > last_ns for s in samples) >= successes


def _ms(duration_ns: int) -> float:
    return round(duration_ns / _NS_PER_MS, 1)


def _sentences(maybe_empty: Sequence[str]) -> tuple[str, ...]:
    return tuple(sentence for sentence in maybe_empty if sentence)
