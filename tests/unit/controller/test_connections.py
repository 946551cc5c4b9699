"""What counts as proof that a bucket has no open connection, and polls that go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from controller.connections import BucketFunction, ConnectionPoller, OpenConnections
from pentaflow.config import HostPort, Node
from pentaflow.hash import HashKeyKind

WEB = BucketFunction(name="web", kind=HashKeyKind.FIVE_TUPLE, hash_key=0xAB, buckets=256)
ASKED = {7: WEB}
ANSWER = b'{"web": {"open": 3, "buckets": {"17": 2, "255": 1}}}'


def held(*, asked_ns: int = 1000) -> OpenConnections:
    holder = OpenConnections(max_age_ns=500)
    holder.take(1, ASKED, asked_ns, ANSWER)
    return holder


@pytest.mark.parametrize(("bucket", "expected"), [(17, 2), (255, 1), (0, 0), (256, None)])
def test_a_bucket_that_is_not_named_has_none(bucket: int, expected: int | None) -> None:
    assert held().maybe_open(7, bucket, 1, asked_after_ns=999, now_ns=1100) == expected


@pytest.mark.parametrize(
    ("vserver_id", "node_id", "asked_after_ns", "now_ns"),
    [(8, 1, 0, 1000), (7, 2, 0, 1000), (7, 1, 1000, 1001), (7, 1, 1200, 1300), (7, 1, 0, 1501)],
    ids=["another vserver", "another node", "asked at that moment", "asked before", "too old"],
)
def test_no_proof(vserver_id: int, node_id: int, asked_after_ns: int, now_ns: int) -> None:
    assert held().maybe_open(vserver_id, 17, node_id, asked_after_ns=asked_after_ns, now_ns=now_ns) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"web": {}}',
        b'{"web": {"open": 0, "buckets": {"256": 0}}}',
        b'{"web": {"open": 1, "buckets": {}}}',
        b'{"web": {"open": -1, "buckets": {"0": -1}}}',
        b'{"web": {"open": true, "buckets": {"0": 1}}}',
        b'{"web": {"open": 1, "buckets": {"x": 1}}}',
    ],
)
def test_an_answer_that_cannot_be_right_is_none(body: bytes) -> None:
    holder = held()
    with pytest.raises(ValueError, match="answer"):
        holder.take(1, ASKED, 1100, body)
    assert holder.maybe_open(7, 17, 1, asked_after_ns=1050, now_ns=1200) is None
    assert holder.maybe_open(7, 17, 1, asked_after_ns=999, now_ns=1200) == 2


def test_a_node_that_starts_anew_proves_nothing() -> None:
    holder = held()
    holder.forget(1)
    assert holder.maybe_open(7, 17, 1, asked_after_ns=0, now_ns=1000) is None


async def ask_once(
    handler: Callable[[httpx.Request], httpx.Response], *, wanted: dict[int, dict[int, BucketFunction]] | None = None
) -> tuple[OpenConnections, list[tuple[int, str]]]:
    nodes = {
        n: Node(
            name=f"n{n}", id=n, mac=f"02:00:00:00:00:0{n}", ports={"s1": n}, management=HostPort(host=f"n{n}", port=1)
        )
        for n in (1, 2, 3)
    }
    holder = OpenConnections()
    reports: list[tuple[int, str]] = []
    poller = ConnectionPoller(
        nodes,
        lambda: {1: ASKED, 2: ASKED, 3: {}} if wanted is None else wanted,
        holder,
        lambda node_id, failure: reports.append((node_id, failure)),
        timeout_s=0.2,
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        await poller.ask_once(client)
    return holder, sorted(reports)


async def test_only_nodes_with_a_reason_are_asked() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=ANSWER)

    _, reports = await ask_once(answer, wanted={2: ASKED, 3: {}, 9: ASKED})
    assert reports == [(2, "")]
    (request,) = requests
    assert (request.method, str(request.url)) == ("POST", "http://n2:1/open-connections")
    assert json.loads(request.content) == {
        "vservers": {"web": {"hash": "5tuple", "hash_key": "00000000000000ab", "buckets": 256}}
    }
    assert "ab" not in repr(WEB)


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (httpx.Response(422, text="422: vservers.web: no such vserver"), "no such vserver"),
        (httpx.Response(500), "status 500"),
        (httpx.Response(200, text="rubbish"), "an answer that cannot be used"),
        (httpx.Response(200, content=b" " * ((16 << 20) + 1)), "an answer of more than"),
        (None, "refused by the test"),
    ],
    ids=["refused", "500", "no JSON", "too long", "no connection"],
)
async def test_one_node_that_fails_does_not_keep_the_other(response: httpx.Response | None, failure: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "n1":
            return httpx.Response(200, content=ANSWER)
        if response is None:
            raise httpx.ConnectError("refused by the test")
        return response

    holder, reports = await ask_once(answer)
    assert reports[0] == (1, "")
    assert reports[1][0] == 2
    assert failure in reports[1][1]
    now_ns = 1 << 62
    assert holder.maybe_open(7, 17, 2, asked_after_ns=0, now_ns=now_ns) is None


async def test_a_node_that_is_silent_is_given_up() -> None:
    async def silence(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    nodes = {1: Node(name="n1", id=1, mac="02:00:00:00:00:01", ports={"s1": 1}, management=HostPort(host="n1", port=1))}
    failures: list[str] = []
    poller = ConnectionPoller(
        nodes, lambda: {1: ASKED}, OpenConnections(), lambda _, failure: failures.append(failure), timeout_s=0.05
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(silence)) as client:
        await poller.ask_once(client)
    assert failures == ["TimeoutError"]
