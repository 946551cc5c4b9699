"""How a vserver's requests are answered or passed on, as configured [N1] [N7]."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pentaflow.fields import Integer, Model


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a network like 192.0.2.0/24")
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network like 192.0.2.0/24: {error}") from None


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class Redirect(Model):
    """Every request of a vserver of mode http is sent to the same host over `https`, at `port`.

    308 and 307 keep the method and body of a request, 301 and 302 may turn a POST into a GET; 301 and 308 are
    remembered by clients (RFC 9110, 15.4).
    """

    to: Literal["https"]
    port: Annotated[Integer, Field(ge=1, le=65535)] = 443
    status: Literal[301, 302, 307, 308] = 308


class Forwarding(Model):
    """What servers are told of clients, beside X-Forwarded-For, -Host, -Proto and -Port, and Via [N7].

    Clients in `trusted_proxies` are believed: what they say of theirs is kept, and they are appended to it. What all
    others claim is left out. `forwarded`: send Forwarded (RFC 7239), too. `request_id`: each request has X-Request-ID,
    that of a trusted proxy or a new one of 128 random bits.
    """

    trusted_proxies: tuple[Network, ...] = ()
    forwarded: bool = False
    request_id: bool = False
