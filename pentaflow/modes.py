"""The modes of vservers and the kinds of nodes, and what goes together [B11]."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from pentaflow.misplaced import Location, MisplacedError, nearest

if TYPE_CHECKING:
    from pentaflow.config import Configuration, Vserver


class NodeKind(StrEnum):
    """What a node is: a TLS proxy, or a server of `direct` vservers that holds their VIPs itself [B11]."""

    TLS = "tls"
    DIRECT = "direct"


class VserverMode(StrEnum):
    """Who answers a vserver's clients: TLS nodes that proxy, with or without TLS, or its `nodes` themselves [B11].

    In mode passthrough TLS nodes proxy what they do not decrypt [P5].
    """

    HTTPS = "https"
    HTTP = "http"
    PASSTHROUGH = "passthrough"
    DIRECT = "direct"

    @property
    def is_proxied(self) -> bool:
        """Whether TLS nodes serve it."""
        return self is not VserverMode.DIRECT


class Protocol(StrEnum):
    """What a vserver's clients speak over IP."""

    TCP = "tcp"
    UDP = "udp"


# What not every mode has.
_PROXIED = ("pool", "persistence", "access_log", "timeouts", "limits")
_OF_MODE = {
    VserverMode.HTTPS: ("tls", *_PROXIED, "forwarding"),
    VserverMode.HTTP: ("redirect", *_PROXIED, "forwarding"),
    VserverMode.PASSTHROUGH: (*_PROXIED, "routes"),
    VserverMode.DIRECT: ("nodes", "probe"),
}
_NEEDED = {
    VserverMode.HTTPS: {"tls": "certificate and key", "pool": "the name of a pool"},
    VserverMode.HTTP: {"pool": "the name of a pool, or redirect"},
    VserverMode.PASSTHROUGH: {"pool": "the name of a pool"},
    VserverMode.DIRECT: {"nodes": "names of nodes of kind direct"},
}

_PERSISTENCE_OF_MODE = {
    "ticket": VserverMode.HTTPS,
    "tls_session_ids": VserverMode.HTTPS,
    "learn": VserverMode.PASSTHROUGH,
}


def check_mode(vserver: Vserver, place: Location) -> None:
    """What belongs to a vserver's mode, and what does not.

    Raises:
        MisplacedError: what is missing or too much.
    """
    mode = vserver.mode
    if mode.is_proxied and vserver.protocol is not Protocol.TCP:
        raise MisplacedError((*place, "protocol"), f"mode {mode} is tcp only; {vserver.protocol} needs mode direct")
    if vserver.redirect is None:
        for name, expected in _NEEDED[mode].items():
            if getattr(vserver, name) is None:
                raise MisplacedError((*place, name), f"mode {mode} needs it: {expected}")
    for name in dict.fromkeys(name for names in _OF_MODE.values() for name in names):
        if name not in _OF_MODE[mode] and _is_given(vserver, name):
            others = _either([other for other, names in _OF_MODE.items() if name in names])
            raise MisplacedError((*place, name), f"belongs to mode {others}; the mode of {vserver.name} is {mode}")
    if vserver.redirect is not None:
        for name in ("pool", "persistence", "forwarding"):
            if _is_given(vserver, name):
                raise MisplacedError((*place, name), "a vserver that redirects has no servers")
    for name, only in _PERSISTENCE_OF_MODE.items():
        if getattr(vserver.persistence, name) is not None and mode is not only:
            raise MisplacedError(
                (*place, "persistence", name), f"belongs to mode {only}; the mode of {vserver.name} is {mode}"
            )
    if _is_given(vserver, "probe") and vserver.protocol is not Protocol.UDP:
        raise MisplacedError((*place, "probe"), "belongs to protocol udp; tcp is probed with a SYN")


def _either(modes: Sequence[VserverMode]) -> str:
    return " or ".join((", ".join(modes[:-1]), modes[-1])) if modes[1:] else modes[0]


def _is_given(vserver: Vserver, name: str) -> bool:
    return bool(getattr(vserver, name) != type(vserver).model_fields[name].default)


def check_direct(configuration: Configuration) -> None:
    """Vservers share all of their nodes or none, so that a node's slots can fail over as a whole.

    Raises:
        MisplacedError: the name of a node that can't serve the vserver.
    """
    kinds = {node.name: node.kind for node in configuration.nodes}
    first: dict[str, Vserver] = {}
    for i, vserver in enumerate(configuration.vservers):
        for j, name in enumerate(vserver.nodes or ()):
            location = ("vservers", i, "nodes", j)
            if name not in kinds:
                direct = [n for n, kind in kinds.items() if kind is NodeKind.DIRECT]
                raise MisplacedError(location, f"no node {name!r}{nearest(name, direct)}")
            if kinds[name] is not NodeKind.DIRECT:
                raise MisplacedError(location, f"{name} is a node of kind tls; expected one of kind direct")
            if name in (vserver.nodes or ())[:j]:
                raise MisplacedError(location, f"{name} is named twice")
            other = first.setdefault(name, vserver)
            if set(other.nodes or ()) != set(vserver.nodes or ()):
                raise MisplacedError(
                    location, f"{name} also serves {other.name}, whose nodes are others: expected the same or none"
                )
