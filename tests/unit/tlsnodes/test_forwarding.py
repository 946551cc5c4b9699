"""What servers are told about clients."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tlsnodes.http.forwarding import ClientFields, ForwardingRules, client_address, request_id, via_line
from tlsnodes.http.heads import RequestHead, request_table
from tlsnodes.http.messages import HeadLimits
from tlsnodes.http.reader import RequestReader

RULES = ForwardingRules(node_name="node1", scheme="https", port=443)
TRUSTING = ForwardingRules(
    node_name="node1",
    scheme="http",
    port=80,
    trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
    forwarded=True,
)


def claims_of(fields: bytes) -> bytes:
    """What a request claims, as the reader gives it."""
    (head, _) = RequestReader(HeadLimits()).feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert isinstance(head, RequestHead)
    assert head.lines == b""
    return head.claims


def names_and_values(lines: bytes) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n") if line]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_an_unknown_clients_claims_are_not_believed() -> None:
    claims = claims_of(
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n"
        b"Forwarded: for=6.6.6.6\r\nX-Request-ID: 1\r\n"
    )
    for rules in (RULES, TRUSTING):
        client = ClientFields(rules, "198.51.100.7")
        assert not client.trusted
        assert client.maybe_request_id(claims) is None
        assert client.lines(authority=b"www.example.test", http_1_0=False, claims=claims) == client.lines(
            authority=b"www.example.test", http_1_0=False
        )
    assert names_and_values(ClientFields(RULES, "198.51.100.7").lines(authority=b"a", http_1_0=False)) == {
        "X-Forwarded-Host": "a",
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "443",
        "Via": "1.1 node1",
    }


def test_a_trusted_proxys_claims_are_kept_and_its_address_appended() -> None:
    client = ClientFields(TRUSTING, "192.0.2.7")
    claims = claims_of(
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.1, 198.51.100.2\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 8443\r\nForwarded: for=203.0.113.9;proto=https\r\n"
        b"X-Request-ID: 7b-1/x\r\n"
    )
    assert client.maybe_request_id(claims) == b"7b-1/x"
    lines = client.lines(authority=b"inner:80", http_1_0=True, claims=claims, request_id=b"7b-1/x")
    assert names_and_values(lines) == {
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-For": "203.0.113.9, 198.51.100.1, 198.51.100.2, 192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "8443",
        "Forwarded": 'for=203.0.113.9;proto=https, for=192.0.2.7;host="inner:80";proto=http;by=_node1',
        "Via": "1.0 node1",
        "X-Request-ID": "7b-1/x",
    }


@pytest.mark.parametrize(
    "fields",
    [
        b"X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\nX-Forwarded-Port: http\r\n",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Host: b\r\n",
        b"X-Forwarded-Proto:\r\nX-Forwarded-Host:\r\nX-Forwarded-Port:\r\nX-Forwarded-For:\r\nForwarded:\r\n",
    ],
)
def test_a_trusted_proxys_claims_that_make_no_sense_are_replaced(fields: bytes) -> None:
    client = ClientFields(TRUSTING, "192.0.2.7")
    claims = claims_of(fields)
    assert client.lines(authority=b"a", http_1_0=False, claims=claims) == client.lines(authority=b"a", http_1_0=False)


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b'a"b', b"\xff"])
def test_a_request_id_that_would_spoil_a_log_is_not_kept(given: bytes) -> None:
    client = ClientFields(TRUSTING, "192.0.2.7")
    assert client.maybe_request_id(claims_of(b"X-Request-ID: %b\r\n" % given)) is None
    assert client.maybe_request_id(claims_of(b"X-Request-ID: a\r\nX-Request-ID: b\r\n")) is None


def test_a_request_id_is_128_bits_in_hexadecimal() -> None:
    assert request_id(bytes(range(16))) == b"000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses(told: str, meant: str) -> None:
    assert str(client_address(told)) == meant


def test_ipv6_is_bare_in_x_forwarded_for_and_quoted_in_forwarded() -> None:
    client = ClientFields(TRUSTING, "2001:db8::7")
    assert client.trusted
    lines = names_and_values(client.lines(authority=b"[2001:db8::1]", http_1_0=False))
    assert lines["X-Forwarded-For"] == "2001:db8::7"
    assert lines["Forwarded"] == 'for="[2001:db8::7]";host="[2001:db8::1]";proto=http;by=_node1'


def test_lines_follow_the_request_on_one_connection() -> None:
    client = ClientFields(RULES, "192.0.2.7")
    assert b"X-Forwarded-Host: a\r\n" in client.lines(authority=b"a", http_1_0=False)
    assert b"X-Forwarded-Host: b\r\n" in client.lines(authority=b"b", http_1_0=False)
    assert b"Via: 1.0 node1\r\n" in client.lines(authority=b"b", http_1_0=True)
    assert client.lines(authority=b"b", http_1_0=False, request_id=b"1").endswith(b"X-Request-ID: 1\r\n")
    assert b"X-Request-ID" not in client.lines(authority=b"b", http_1_0=False)


def test_a_client_certificate_goes_on_as_rfc_9440_says() -> None:
    client = ClientFields(RULES, "192.0.2.7", certificate=b"\x30\x03\x02\x01\x01")
    assert b"\r\nClient-Cert: :MAMCAQE=:\r\n" in client.lines(authority=b"a", http_1_0=False)


def test_names_of_the_configuration_are_removed_as_well() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: 1\r\nx_tenant: 2\r\nX-Tenants: 3\r\n\r\n"
    (head, _) = RequestReader(HeadLimits(), request_table([b"X_Tenant"])).feed(request)
    assert isinstance(head, RequestHead)
    assert (head.lines, head.claims) == (b"X-Tenants: 3\r\n", b"X-Tenant: 1\r\n")


def test_what_the_table_has_no_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        request_table([b"x" * 32])
    with pytest.raises(ValueError, match="too many"):
        request_table([b"x-%d" % number for number in range(100)])


def test_via_names_the_version_that_the_peer_spoke() -> None:
    assert via_line("n") == b"Via: 1.1 n\r\n"
    assert via_line("n", http_1_0=True) == b"Via: 1.0 n\r\n"
