"""PROXY protocol headers, octet by octet as the specification draws them (proxy-protocol.txt, 2.2)."""

from __future__ import annotations

from tlsnodes.http.proxy_protocol import LOCAL_HEADER, TlsFacts, proxy_header

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def test_tcp_over_ipv4() -> None:
    assert proxy_header(("192.0.2.7", 50_000), ("198.51.100.1", 443)) == SIGNATURE + bytes.fromhex(
        "21 11 000c"  # version 2 and PROXY; AF_INET and STREAM; 12 octets
        "c0000207 c6336401 c350 01bb"
    )


def test_tcp_over_ipv6() -> None:
    assert proxy_header(("2001:db8::7", 50_000), ("2001:db8::1%eth0", 443)) == SIGNATURE + bytes.fromhex(
        "21 21 0024"  # AF_INET6 and STREAM; 36 octets
        "20010db8000000000000000000000007 20010db8000000000000000000000001 c350 01bb"
    )


def test_ends_of_two_families_are_both_ipv6() -> None:
    header = proxy_header(("192.0.2.7", 1), ("2001:db8::1", 2))
    assert header[12:16] == bytes.fromhex("21 21 0024")
    assert header[16:32] == bytes.fromhex("00000000000000000000ffffc0000207")


def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() -> None:
    assert proxy_header(("::ffff:192.0.2.7", 1), ("::ffff:198.51.100.1", 2)) == proxy_header(
        ("192.0.2.7", 1), ("198.51.100.1", 2)
    )


def test_what_is_known_of_tls() -> None:
    tls = TlsFacts(version="TLSv1.3", server_name="a.example", alpn="http/1.1", certificate_verified=True)
    header = proxy_header(("192.0.2.7", 1), ("198.51.100.1", 443), tls=tls)
    vectors = header[28:]
    assert int.from_bytes(header[14:16], "big") == 12 + len(vectors)
    assert vectors == (
        b"\x01\x00\x08http/1.1"
        b"\x02\x00\x09a.example"
        b"\x20\x00\x0f\x07\x00\x00\x00\x00"  # PP2_CLIENT_SSL, PP2_CLIENT_CERT_CONN and _SESS; verified
        b"\x21\x00\x07TLSv1.3"
    )


def test_a_certificate_of_a_resumed_session_is_still_verified() -> None:
    tls = TlsFacts(version="TLSv1.2", certificate_verified=True, resumed=True)
    header = proxy_header(("192.0.2.7", 1), ("198.51.100.1", 443), tls=tls)
    assert header[28:36] == b"\x20\x00\x0f\x05\x00\x00\x00\x00"  # PP2_CLIENT_SSL and PP2_CLIENT_CERT_SESS


def test_tls_without_a_certificate_is_not_called_verified() -> None:
    header = proxy_header(("192.0.2.7", 1), ("198.51.100.1", 443), tls=TlsFacts(version="TLSv1.2"))
    assert header[28:] == b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.2"


def test_the_proxys_own_connections_are_local() -> None:
    assert SIGNATURE + bytes.fromhex("20 00 0000") == LOCAL_HEADER
