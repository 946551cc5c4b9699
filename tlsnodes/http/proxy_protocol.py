"""The PROXY protocol, version 2: the first octets of a connection to a server that say whose it is.

Source: HAProxy's specification, proxy-protocol.txt, 2.2. A connection that begins like this serves one client only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tlsnodes.http.forwarding import client_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL_HEADER = SIGNATURE + b"\x20\x00\x00\x00"
"""For connections of the proxy itself, such as checks."""

_PROXY_COMMAND = 0x21
_TCP4 = 0x11
_TCP6 = 0x21
_TYPE_ALPN = 0x01
_TYPE_AUTHORITY = 0x02
_TYPE_SSL = 0x20
_TYPE_SSL_VERSION = 0x21
_CLIENT_SSL = 0x01
_CLIENT_CERT_CONN = 0x02
_CLIENT_CERT_SESS = 0x04
_VERIFIED = 0
_NOT_VERIFIED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFacts:
    """What the server may know of the client's TLS.

    Attributes:
        version: such as "TLSv1.3".
        server_name: SNI, or "".
        alpn: protocol chosen, or "".
        certificate_verified: the client showed a certificate in this session, and it was verified.
        resumed: the session began on another connection.
    """

    version: str
    server_name: str = ""
    alpn: str = ""
    certificate_verified: bool = False
    resumed: bool = False


def proxy_header(source: tuple[str, int], destination: tuple[str, int], *, tls: TlsFacts | None = None) -> bytes:
    """The header for a client's connection.

    Args:
        source: address and port of the client.
        destination: address and port that it connected to.
        tls: None for plain connections.
    """
    ends = [client_address(host) for host, _ in (source, destination)]
    ports = struct.pack("!HH", source[1], destination[1])
    if all(isinstance(end, IPv4Address) for end in ends):
        family, addresses = _TCP4, b"".join(end.packed for end in ends)
    else:  # one family for both: IPv4 is mapped into IPv6
        family, addresses = _TCP6, b"".join(_mapped(end).packed for end in ends)
    rest = addresses + ports + (_tls_vectors(tls) if tls is not None else b"")
    return SIGNATURE + struct.pack("!BBH", _PROXY_COMMAND, family, len(rest)) + rest


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address


def _tls_vectors(tls: TlsFacts) -> bytes:
    client = _CLIENT_SSL
    if tls.certificate_verified:
        client |= _CLIENT_CERT_SESS if tls.resumed else _CLIENT_CERT_CONN | _CLIENT_CERT_SESS
    verify = _VERIFIED if tls.certificate_verified else _NOT_VERIFIED
    vectors = b""
    if tls.alpn:
        vectors += _vector(_TYPE_ALPN, tls.alpn.encode())
    if tls.server_name:
        vectors += _vector(_TYPE_AUTHORITY, tls.server_name.encode())
    ssl = struct.pack("!BI", client, verify) + _vector(_TYPE_SSL_VERSION, tls.version.encode())
    return vectors + _vector(_TYPE_SSL, ssl)


def _vector(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value
