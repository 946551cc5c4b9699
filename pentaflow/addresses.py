"""IP addresses of both families: how they are read, which can be a service's, and how they are written with a port."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

IpAddress = IPv4Address | IPv6Address

_LIMITED_BROADCAST = IPv4Address("255.255.255.255")


def parse_service_address(value: object) -> IpAddress:
    """An address that a VIP or a probe can have, from its text in any spelling.

    Raises:
        ValueError: it is none, or one that hosts beyond a link cannot have a connection with.
    """
    try:
        # A number, which YAML may make of what was meant otherwise, is no address.
        address = value if isinstance(value, IPv4Address | IPv6Address) else ip_address(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{address} names an interface; give an address that is the same everywhere")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise ValueError(f"{value} is an IPv4 address in IPv6 clothes (::ffff:0:0/96); write {address.ipv4_mapped}")
    for is_so, what in (
        (address.is_unspecified, "the unspecified address"),
        (address.is_multicast or address == _LIMITED_BROADCAST, "a group address"),
        (address.is_link_local, "a link-local address"),
    ):
        if is_so:
            raise ValueError(f"{address} is {what}; connections need a unicast address that routers know")
    return address


def with_port(host: str | IpAddress, port: int) -> str:
    """`192.0.2.1:443` or `[2001:db8::1]:443` (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
