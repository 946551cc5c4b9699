"""The demo's judges: what they count, and that each thing that does not hold is said."""

from ipaddress import IPv4Address

from pentaflow.demo.judge import (
    BucketMap,
    Failover,
    Sample,
    judge_failure,
    judge_persistence,
    judge_spread,
    judge_tickets,
    recovered,
)
from pentaflow.demo.traffic import Request, Resumption
from pentaflow.hash import HashKeyKind, client_hash

CLIENT = IPv4Address("10.0.0.1")
VIP = IPv4Address("10.0.0.100")
KEY = 0x0123_4567_89AB_CDEF
NODES = ("n1", "n2", "n3", "n1")
MAP = BucketMap(version=1, nodes=NODES, hash_key=KEY, kind=HashKeyKind.SRC_PORT, vip=VIP, port=443)
MS = 1_000_000


def request(node: str = "n1", server: str = "w1", *, port: int = 40000, status: int = 200) -> Request:
    exit_code = 0 if status else 7
    return Request(
        exit_code=exit_code,
        status=status,
        maybe_client=CLIENT,
        client_port=port,
        connections=1 if status else 0,
        node=node,
        server=server,
    )


def mapped(count: int) -> list[Request]:
    return [request(MAP.node_of(CLIENT, port), port=port) for port in range(40000, 40000 + count)]


PORT_OF = {MAP.node_of(CLIENT, port): port for port in range(40000, 40060)}


def load(*entries: tuple[int, str | None], bucket_of: str = "n2") -> list[Sample]:
    """Samples (end in ms, node), all of one client; None for a failed request."""
    port = PORT_OF[bucket_of]
    requests = [(ms, request(node, port=port) if node else request("", port=port, status=0)) for ms, node in entries]
    return [Sample(finished_ns=ms * MS, request=r) for ms, r in requests]


def test_the_map_is_read_with_the_hash_of_the_switch() -> None:
    bucket = client_hash(KEY, HashKeyKind.SRC_PORT, CLIENT, 40000, VIP, 443, 6) & 3
    assert MAP.node_of(CLIENT, 40000) == NODES[bucket]


def test_a_spread_as_mapped_holds() -> None:
    spread = judge_spread(mapped(60), MAP)
    assert spread.problems == ()
    assert (spread.connections, spread.as_mapped) == (60, 60)
    assert sum(share.connections for share in spread.by_node.values()) == 60
    assert {node: share.buckets for node, share in spread.by_node.items()} == {"n1": 2, "n2": 1, "n3": 1}


def test_a_connection_that_went_astray_is_named() -> None:
    right = MAP.node_of(CLIENT, 50000)
    wrong = "n2" if right != "n2" else "n3"
    spread = judge_spread([*mapped(60), request(wrong, port=50000)], MAP)
    assert spread.as_mapped == 60
    assert spread.problems == (
        f"1 connections went astray, for one: 10.0.0.1:50000 was served by {wrong}, but its bucket is {right}'s",
    )


def test_a_node_without_traffic_a_failure_and_a_reused_port_are_said() -> None:
    only = [r for r in mapped(60) if r.node == "n1"]
    spread = judge_spread([*only, only[0], request(status=0, port=1)], MAP)
    total = len(only) + 2
    assert spread.problems == (
        f"1 of {total} requests failed, the first with curl exit code 7, HTTP status 0, 0 connections",
        "n2 owns 1 buckets but served no connection",
        "n3 owns 1 buckets but served no connection",
        f"only {len(only)} different client ports were used",
    )


def test_a_session_that_stays_holds() -> None:
    session = [request("n1", "w2"), request("n2", "w2"), request("n1", "w2")]
    without = [request("n1", "w1"), request("n1", "w2")]
    result = judge_persistence(request("n3", "w2"), session, without, nodes=2, servers=2)
    assert result.problems == ()
    assert (result.server, result.to_server, result.by_node) == ("w2", 3, {"n1": 2, "n2": 1})
    assert result.without_cookie == {"w1": 1, "w2": 1}


def test_a_session_that_strays_or_proves_nothing_is_said() -> None:
    result = judge_persistence(
        request("n3", "w2"), [request("n1", "w1"), request("n1", "w2")], [request("n1", "w1")], nodes=2, servers=3
    )
    assert result.to_server == 1
    assert result.problems == (
        "the session of w2 also reached w1",
        "the session passed through 1 nodes; expected 2",
        "without cookies only 1 of 3 servers were reached",
    )


FAILOVER = Failover(node="n2", decided_ns=1350 * MS, switch_writes=16)
GOOD_LOAD = [
    *load((900, "n2"), (950, "n2"), (1100, None)),
    *load((1200, "n1"), bucket_of="n1"),
    *load((1400, None), (1500, "n1"), (1600, "n3")),
]


def test_a_failover_is_measured_from_the_kill() -> None:
    result = judge_failure(GOOD_LOAD, 1000 * MS, FAILOVER, MAP, expected_writes=16, survivors=2)
    assert result.problems == ()
    assert (result.requests, result.failed_requests) == (5, 2)
    assert (result.detection_ms, result.recovery_ms, result.last_failure_ms) == (350.0, 500.0, 400.0)


def test_a_failover_without_a_failed_request() -> None:
    samples = load((900, "n2"), (1100, "n1"), (1200, "n3"))
    result = judge_failure(samples, 1000 * MS, FAILOVER, MAP, expected_writes=16, survivors=2)
    assert (result.recovery_ms, result.last_failure_ms) == (100.0, 0.0)


def test_an_answer_of_the_killed_node_itself_is_no_recovery() -> None:
    samples = load((900, "n2"), (1003, "n2"), (1100, None), (1500, "n1"), (1600, "n3"))
    result = judge_failure(samples, 1000 * MS, FAILOVER, MAP, expected_writes=16, survivors=2)
    assert (result.problems, result.recovery_ms) == ((), 500.0)


def test_what_does_not_hold_of_a_failover_is_said() -> None:
    samples = load((900, None), (1100, None), (1200, "n2"), bucket_of="n1")
    result = judge_failure(samples, 1000 * MS, FAILOVER, MAP, expected_writes=4, survivors=2)
    assert result.problems == (
        "before the kill 1 of 1 requests failed, the first with curl exit code 7, HTTP status 0, 0 connections",
        "no client in a bucket of n2 was answered after the kill",
        "n2 still served after the recovery",
        "1 nodes served after the recovery; expected 2",
        "the failover took 16 switch writes; expected 4",
    )


def test_a_load_has_recovered_after_quiet_and_successes() -> None:
    def back(now_ms: int, successes: int) -> bool:
        return recovered(GOOD_LOAD, 1000 * MS, now_ms * MS, quiet_ns=500 * MS, successes=successes)

    assert back(1900, 2)
    assert not back(1899, 2), "a request failed 499 ms ago"
    assert not back(1900, 3), "only two succeeded since"


def resumption(node: str, server: str = "w1", *, resumed: bool = True, error: str = "") -> Resumption:
    return Resumption(resumed=resumed, version="TLSv1.3", node=node, server=server, error=error)


def test_tickets_that_lead_to_one_server_at_all_nodes_hold() -> None:
    seen = [resumption("n1", resumed=False), resumption("n2"), resumption("n1")]
    tickets = judge_tickets(seen, ["0a", "0b"], nodes=2, rotations=1)
    assert tickets.problems == ()
    assert (tickets.connections, tickets.resumed, tickets.to_server) == (2, 2, 2)
    assert tickets.by_node == {"n1": 2, "n2": 1}


def test_what_tickets_do_not_do_is_said() -> None:
    seen = [
        resumption("n1", resumed=False),
        resumption("n1", "w2", resumed=False),
        resumption("", "", resumed=False, error="timed out"),
    ]
    assert judge_tickets(seen, ["0a", "0a"], nodes=2, rotations=1).problems == (
        "1 of 3 connections failed, the first: timed out",
        "1 connections were not resumed",
        "the tickets of w1 also led to w2",
        "the client passed through 1 nodes; expected 2",
        "the key changed 0 times; expected 1",
    )
