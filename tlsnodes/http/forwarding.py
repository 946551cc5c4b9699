"""What a server is told about the client: the fields that the proxy sets itself.

The reader has taken out of a request whatever claims to be such a field (`names.py`). Only a proxy that the
configuration trusts is believed: its claims are then `RequestHead.claims`, and what we know is appended to them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}\Z")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%\[\]:-]{1,255}\Z")
_PORT = re.compile(rb"[0-9]{1,5}\Z")
_SCHEME = re.compile(rb"https?\Z")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_NOT_IN_NODE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingRules:
    """What the requests of one vserver are given.

    Attributes:
        node_name: pseudonym in Via and Forwarded (RFC 9110, 7.6.3).
        scheme: `https` or `http`.
        port: of the vserver.
        trusted_proxies: clients whose claims are kept.
        forwarded: send Forwarded (RFC 7239), too.
    """

    node_name: str
    scheme: str
    port: int
    trusted_proxies: Sequence[Network] = ()
    forwarded: bool = False


class ClientFields:
    """The fields for the requests of one client connection.

    Args:
        rules: of the vserver.
        address: the client's, as the socket says it.
        certificate: DER of the client's verified certificate, or None.
    """

    __slots__ = ("_address", "_certificate", "_made", "_rules", "trusted")

    def __init__(self, rules: ForwardingRules, address: str, *, certificate: bytes | None = None) -> None:
        self._rules = rules
        # Text, since each connection needs it: making an address of it, and text again, takes longer than all the rest.
        self._address = str(client_address(address)) if ":" in address else address
        self._certificate = client_cert(certificate) if certificate else b""
        self._made: tuple[bytes, bool, bytes] | None = None
        self.trusted = bool(rules.trusted_proxies) and _is_in(client_address(address), rules.trusted_proxies)

    def maybe_request_id(self, claims: bytes) -> bytes | None:
        """The X-Request-ID that a trusted proxy gave; None: make one (`request_id`)."""
        if not (self.trusted and claims):
            return None
        given = _values(claims).get(b"x-request-id", [])
        return given[0] if len(given) == 1 and _REQUEST_ID.match(given[0]) else None

    def lines(self, *, authority: bytes, http_1_0: bool, claims: bytes = b"", request_id: bytes | None = None) -> bytes:
        """Field lines for a request.

        Args:
            authority: the request's.
            http_1_0: the client spoke it.
            claims: `RequestHead.claims`; looked at when the client is a trusted proxy.
            request_id: what the request shall be called, if at all.
        """
        if claims and self.trusted:
            lines = self._lines(authority, http_1_0, _values(claims))
        else:
            made = self._made
            if made is not None and made[0] == authority and made[1] == http_1_0:
                lines = made[2]
            else:
                lines = self._lines(authority, http_1_0, {})
                self._made = (authority, http_1_0, lines)
        return lines if request_id is None else lines + b"X-Request-ID: %b\r\n" % request_id

    def _lines(self, authority: bytes, http_1_0: bool, claims: dict[bytes, list[bytes]]) -> bytes:
        rules = self._rules
        chain = b", ".join([*claims.get(b"x-forwarded-for", ()), self._address.encode()])
        scheme = _one(claims, b"x-forwarded-proto", _SCHEME) or rules.scheme.encode()
        host = _one(claims, b"x-forwarded-host", _HOST) or authority
        port = _one(claims, b"x-forwarded-port", _PORT) or b"%d" % rules.port
        lines = b"X-Forwarded-Host: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\n" % (
            host,
            chain,
            scheme,
            port,
        )
        if rules.forwarded:
            ours = forwarded_element(self._address, authority.decode(), rules.scheme, rules.node_name)
            lines += b"Forwarded: %b\r\n" % b", ".join([*claims.get(b"forwarded", ()), ours.encode()])
        return lines + self._certificate + via_line(rules.node_name, http_1_0=http_1_0)


def client_address(text: str) -> IPv4Address | IPv6Address:
    """An address as a socket says it: without the zone, and IPv4 out of its IPv6 clothes."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def forwarded_element(address: str, host: str, scheme: str, node_name: str) -> str:
    """One element of Forwarded (RFC 7239, 4): IPv6 in brackets and quoted, our name obfuscated by "_" (6.3)."""
    node = f'"[{address}]"' if ":" in address else address
    quoted = host if _TOKEN.match(host) else f'"{host}"'
    by = _NOT_IN_NODE.sub("-", node_name)
    return f"for={node};host={quoted};proto={scheme};by=_{by}"


def client_cert(der: bytes) -> bytes:
    """The Client-Cert line (RFC 9440, 2.2): a byte sequence of structured fields."""
    return b"Client-Cert: :%b:\r\n" % b64encode(der)


def request_id(random: bytes) -> bytes:
    """An X-Request-ID from 16 random octets."""
    return random.hex().encode()


def via_line(node_name: str, *, http_1_0: bool = False) -> bytes:
    """The Via line of RFC 9110, 7.6.3; `http_1_0`: what the peer spoke that the message came from."""
    return f"Via: {'1.0' if http_1_0 else '1.1'} {node_name}\r\n".encode()


def _values(lines: bytes) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if value.strip():
            values.setdefault(name.lower(), []).append(value.strip())
    return values


def _one(claims: dict[bytes, list[bytes]], name: bytes, shape: re.Pattern[bytes]) -> bytes | None:
    """The claim's value if there is one only and it looks right."""
    given = claims.get(name, [])
    return given[0] if len(given) == 1 and shape.match(given[0]) else None
