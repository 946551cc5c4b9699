"""Open connections per bucket: the question's validation, and the counts."""

from __future__ import annotations

import json
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from pentaflow.addresses import IpAddress
from pentaflow.hash import HashKeyKind, client_hash
from tlsnodes.open_connections import OpenConnections, count_by_bucket
from tlsnodes.open_question import BadQuestion, parse_question

KEY = "00112233aabbccdd"
GOOD: dict[str, Any] = {"hash": "src_port", "hash_key": KEY, "buckets": 4096}
VIPS: list[tuple[IpAddress, IpAddress]] = [
    (IPv4Address("192.0.2.100"), IPv4Address("198.51.100.0")),
    (IPv6Address("2001:db8::100"), IPv6Address("2001:db8:1::")),
]


def ask(web: object, **others: object) -> bytes:
    return json.dumps({"vservers": {"web": web}, **others}).encode()


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "not JSON: "),
        (b"{", 400, "not JSON: "),
        (b"\xff", 400, "not JSON: "),
        (b"[" * 100_000, 400, "not JSON: "),
        (b"[]", 422, "Input should be an object"),
        (b"{}", 422, "vservers: Field required"),
        (b'{"vservers": {}}', 422, "vservers: "),
        (ask(GOOD, extra=1), 422, "extra: Extra inputs are not permitted"),
        (ask({**GOOD, "extra": 1}), 422, "vservers.web.extra: Extra inputs are not permitted"),
        (ask({**GOOD, "hash": "dst"}), 422, "vservers.web.hash: 'dst' is not one of src, src_port, 5tuple"),
        (ask({**GOOD, "buckets": 1000}), 422, "vservers.web.buckets: 1000 is not a power of two"),
        (ask({**GOOD, "buckets": 1 << 20}), 422, "vservers.web.buckets: "),
        (ask({**GOOD, "hash_key": KEY + "0"}), 422, "vservers.web.hash_key: expected 16 hexadecimal digits"),
        (ask({**GOOD, "hash_key": 5}), 422, "vservers.web.hash_key: "),
        (
            json.dumps({"vservers": {"wob": GOOD}}).encode(),
            422,
            "vservers.wob: this node has no such vserver; did you mean 'web'?",
        ),
        (json.dumps({"vservers": {f"v{n}": GOOD for n in range(1025)}}).encode(), 422, "vservers: "),
    ],
)
def test_a_question_that_is_wrong_is_refused_by_place(body: bytes, status: int, sentence: str) -> None:
    with pytest.raises(BadQuestion) as refusal:
        parse_question(body, ["web", "mail"])
    assert refusal.value.status == status
    assert str(refusal.value).startswith(sentence)
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "kind"), [("src", HashKeyKind.SRC), ("src_port", HashKeyKind.SRC_PORT), ("5tuple", HashKeyKind.FIVE_TUPLE)]
)
@pytest.mark.parametrize(("vip", "first"), VIPS, ids=["IPv4", "IPv6"])
def test_counts_are_those_of_the_hash(name: str, kind: HashKeyKind, vip: IpAddress, first: IpAddress) -> None:
    question = parse_question(ask({**GOOD, "hash": name, "buckets": 256}), ["web"])
    assert KEY not in repr(question)
    clients = [(first + n % 50, 40_000 + n) for n in range(1000)]
    packed = [address.packed + port.to_bytes(2, "big") for address, port in clients]
    expected = Counter(client_hash(int(KEY, 16), kind, address, port, vip, 443, 6) & 255 for address, port in clients)
    gone = b""
    answer = count_by_bucket(OpenConnections(vip=vip, port=443, clients=[*packed, gone]), question.vservers["web"])
    assert answer["open"] == 1000
    assert answer["buckets"] == {str(bucket): count for bucket, count in expected.items()}


def test_nobody_is_nothing() -> None:
    question = parse_question(ask(GOOD), ["web"])
    answer = count_by_bucket(OpenConnections(vip=VIPS[0][0], port=443, clients=()), question.vservers["web"])
    assert answer == {"open": 0, "buckets": {}}
