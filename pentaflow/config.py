"""The one configuration schema: what the YAML file, the REST API and the command line share [O1].

Every model is frozen and refuses unknown keys. `pentaflow.parsing` reads it from YAML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)

from pentaflow.addresses import IpAddress, parse_service_address, with_port
from pentaflow.fields import Endpoint as Endpoint
from pentaflow.fields import HostPort as HostPort
from pentaflow.fields import Integer as Integer
from pentaflow.fields import Model as Model
from pentaflow.fields import Name as Name
from pentaflow.fields import Seconds as Seconds
from pentaflow.hash import HashKeyKind
from pentaflow.http_rules import Forwarding as Forwarding
from pentaflow.http_rules import Redirect as Redirect
from pentaflow.misplaced import Location, MisplacedError, nearest
from pentaflow.modes import NodeKind, Protocol, VserverMode, check_direct, check_mode
from pentaflow.passthrough import NameRoute as NameRoute
from pentaflow.passthrough import check_passthrough
from pentaflow.persistence import CookieMode as CookieMode
from pentaflow.persistence import CookiePersistence as CookiePersistence
from pentaflow.persistence import Persistence as Persistence
from pentaflow.persistence import StoreSettings as StoreSettings
from pentaflow.pools import Policy as Policy
from pentaflow.pools import Pool as Pool
from pentaflow.pools import Server as Server
from pentaflow.session_id_settings import check_session_ids
from pentaflow.tls import Tls as Tls
from pentaflow.tls import VserverTls as VserverTls


def parse_mac(text: str) -> int:
    """`aa:bb:cc:dd:ee:ff` → 48-bit integer; ValueError if it is not a unicast MAC address."""
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
    value = int(text.replace(":", ""), 16)
    if value >> 40 & 1 or value == 0:
        raise ValueError(f"{text} is not a unicast MAC address")
    return value


def format_mac(value: int) -> str:
    """48-bit integer → `aa:bb:cc:dd:ee:ff`."""
    return value.to_bytes(6, "big").hex(":")


def is_loopback(host: str) -> bool:
    """Whether an address, or `localhost`, can be reached from this host only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two")
    return value


def _hash_key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9a-fA-F]{16}", value.get_secret_value()):
        raise ValueError("expected 16 hexadecimal digits")
    return value


def _address_v4(value: object) -> IPv4Address:
    address = parse_service_address(value)
    if not isinstance(address, IPv4Address):
        raise ValueError(f"{address} is not an IPv4 address; probe_address_v6 takes it")
    return address


def _address_v6(value: object) -> IPv6Address:
    address = parse_service_address(value)
    if not isinstance(address, IPv6Address):
        raise ValueError(f"{address} is not an IPv6 address; probe_address takes it")
    return address


def _payload(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected hexadecimal digits in quotes, two a byte")
    if not re.fullmatch(r"([0-9a-fA-F]{2}){0,1024}", value):
        raise ValueError(f"{value!r} is not up to 1,024 bytes, two hexadecimal digits each")
    return value.lower()


def _hash_key_kind(value: object) -> object:
    names = {"src": HashKeyKind.SRC, "src_port": HashKeyKind.SRC_PORT, "5tuple": HashKeyKind.FIVE_TUPLE}
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return names[value]
    return value


# YAML's numbers are no addresses here.
Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(parse_service_address)]
Mac = Annotated[str, AfterValidator(lambda v: format_mac(parse_mac(v)))]
Port = Annotated[int, Field(ge=1, le=509)]  # of a switch; 510 is the CPU port, 511 drops: p4/ids.p4
Buckets = Annotated[Integer, Field(ge=256, le=65_536), AfterValidator(_power_of_two)]
HashKind = Annotated[HashKeyKind, BeforeValidator(_hash_key_kind)]
HashKey = Annotated[SecretStr, AfterValidator(_hash_key)]
# Switches count in time slots of 16.384 ms: at least one packet in each.
PacketInLimit = Annotated[Integer, Field(ge=62, le=100_000)]
Payload = Annotated[str, BeforeValidator(_payload)]


class Damping(Model):
    """Flap damping [H2]: a node whose penalty (its failures, decaying) reaches `suppress` is held down to `reuse`."""

    suppress: float = Field(default=2.5, gt=0, le=100)
    reuse: float = Field(default=1.0, gt=0, le=100)
    half_life_s: Seconds = 30
    max_hold_s: Seconds = 300

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.reuse >= self.suppress:
            raise ValueError(f"reuse ({self.reuse:g}) must be less than suppress ({self.suppress:g})")
        # RFC 2439 section 4.2: a ceiling below the cut-off would switch damping off in silence. Logarithms, since the
        # ceiling itself may exceed any float.
        if math.log2(self.suppress / self.reuse) > self.max_hold_s / self.half_life_s:
            raise ValueError("no penalty reaches suppress: max_hold_s is too short for half_life_s")
        return self


class Guard(Model):
    """Mass-failure guard [H2]: when more than `share` of the nodes fail within `window_s`, the map is held.

    It is let go when nodes return, when an operator confirms, or after `hold_s` (never by itself if that is null).
    `share: 1` switches it off.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    window_s: Seconds = 2
    hold_s: Seconds | None = 10


class ManagementProtocol(StrEnum):
    """What is asked of a node's management address."""

    NONE = "none"
    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"


class ManagementCheck(Model):
    """The check of nodes' management addresses [H1]: http and https read the status document, tcp only connects.

    Open connections are asked for with the same credentials; `certificate` and `key` are what the controller shows.
    """

    protocol: ManagementProtocol = ManagementProtocol.HTTP
    interval_ms: Integer = Field(default=1000, ge=50, le=60_000)
    timeout_ms: Integer = Field(default=1000, ge=10, le=60_000)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _authority(self) -> Self:
        if (self.protocol is ManagementProtocol.HTTPS) != (self.ca is not None):
            raise ValueError("ca goes with protocol https, and https with ca")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.certificate is not None and self.ca is None:
            raise ValueError("certificate goes with protocol https")
        return self


class Health(Model):
    """How nodes are probed [H1]: `fall` failures in a row make one down, `rise` successes up."""

    interval_ms: Integer = Field(default=100, ge=20, le=60_000)
    timeout_ms: Integer = Field(default=100, ge=10, le=60_000)
    rise: Integer = Field(default=2, ge=1, le=100)
    fall: Integer = Field(default=3, ge=1, le=100)
    management: ManagementCheck = ManagementCheck()
    damping: Damping = Damping()
    guard: Guard = Guard()
    vip_withdrawal: bool = True


class Election(Model):
    """Which switch is active for a VIP [H3]; with `preempt` a higher one takes it back, once healthy for `hold_s`."""

    preempt: bool = True
    hold_s: Seconds = 3


class Moves(Model):
    """How buckets move between nodes [B4] [B5]: after a deadline with the connections that are still open."""

    drain_deadline_s: Seconds = 3600
    rebalance_deadline_s: Seconds = 86_400
    max_split: Integer = Field(default=256, ge=1, le=65_536)


class GivenTicketKeys(Model):
    """TLS nodes get their ticket keys from the controller [P4], and resume each other's sessions.

    What is in the store is sealed with the secret in `secret_file`; without one the keys end with the leader.
    """

    secret_file: Path | None = None


class Controller(Model):
    """The controller itself. Of several one leads; when it is gone, another one after at most `lease_s`.

    `agents_ca`: whose certificates nodes' agents show.
    """

    rest: Endpoint = HostPort(host="127.0.0.1", port=8080)
    tls: Tls | None = None
    tokens: Path | None = None
    rest_is_open: bool = False
    agents_ca: Path | None = None
    lease_s: Integer = Field(default=5, ge=2, le=60)
    health: Health = Health()
    election: Election = Election()
    slots_per_node: Integer = Field(default=16, ge=1, le=16)
    moves: Moves = Moves()
    ticket_keys: GivenTicketKeys | None = None

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        is_guarded = self.tls is not None and self.tokens is not None
        if not (is_guarded or self.rest_is_open or is_loopback(self.rest.host)):
            raise ValueError(
                f"rest on {self.rest.host} needs tls and tokens; only loopback may be open to everybody,"
                " or, in a network of its own, any address with rest_is_open: true"
            )
        if self.agents_ca is not None and self.tls is None:
            raise ValueError("agents_ca needs tls: agents come over mutual TLS only")
        return self


class SwitchTls(Model):
    """TLS to a switch: the CA that its certificate is checked against, and what the controller shows if it is asked."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _whole_identity(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class Switch(Model):
    """A scheduler: a P4Runtime target, its layer-2 ports and the addresses that its probes come from.

    A VIP is probed from an address of its family. Of several switches, the healthy one with the highest `priority` is
    active for a VIP; ties in the order of the file.
    """

    name: Name
    grpc: Endpoint
    device_id: Integer = Field(default=1, ge=0)
    ports: tuple[Port, ...] = Field(min_length=1)
    probe_address: Annotated[IPv4Address, BeforeValidator(_address_v4)] | None = None
    probe_address_v6: Annotated[IPv6Address, BeforeValidator(_address_v6)] | None = None
    priority: Integer = Field(default=100, ge=0, le=255)
    tls: SwitchTls | None = None
    mac_ageing_s: Seconds = 300

    @model_validator(mode="after")
    def _probes(self) -> Self:
        if not self.probe_addresses:
            raise ValueError("probe_address (IPv4), probe_address_v6 or both are needed: what probes come from")
        return self

    @property
    def probe_addresses(self) -> tuple[IpAddress, ...]:
        """All addresses that probes come from; at least one."""
        return tuple(address for address in (self.probe_address, self.probe_address_v6) if address is not None)

    def probe_address_for(self, vip: IpAddress) -> IpAddress:
        """What probes of a VIP come from; a configuration has it for each of its VIPs."""
        return next(address for address in self.probe_addresses if address.version == vip.version)


class MutualTls(Model):
    """One side of mutual TLS: its certificate chain and key, and the authority of the other side's; PEM files."""

    ca: Path
    certificate: Path
    key: Path


class NodeState(StrEnum):
    """What the operator intends with a node [B6]: to serve, to get no new connections, to be left alone."""

    ACTIVE = "active"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"


class Node(Model):
    """A machine that buckets map to. `id` is its number in the data plane: stable, never given to another node.

    `management` is where a TLS node tells its status; a direct one may have an address there that TCP connects to.
    Anywhere but on loopback that needs `management_tls`, or in a network of its own `management_is_open: true`; a node
    that an agent runs has its TLS from its command line.
    """

    name: Name
    id: Integer = Field(ge=1, le=4095)
    kind: NodeKind = NodeKind.TLS
    mac: Mac
    ports: Mapping[Name, Integer] = Field(min_length=1)
    management: Endpoint | None = None
    management_tls: MutualTls | None = None
    management_is_open: bool = False
    weight: Integer = Field(default=1, ge=0, le=1000)
    state: NodeState = NodeState.ACTIVE


class Timeouts(Model):
    """What a node waits for at most, in seconds."""

    handshake_s: Seconds = 10
    header_s: Seconds = 10
    keepalive_s: Seconds = 60
    connect_s: Seconds = 3
    response_s: Seconds = 60
    tunnel_s: Seconds = 3600


class Limits(Model):
    """What clients may take of a node, and how slow they may be [N5]; null: as much as there is.

    A node's workers share `max_connections` and `max_requests` evenly; `max_connections_per_client` (of one address)
    counts in each worker. Beyond them connections are closed, and requests answered with 503 and Retry-After. Slower
    than `min_rate` bytes a second, for `min_rate_after_s` on end, no client may send a body or take a response.
    """

    max_connections: Annotated[Integer, Field(ge=1)] | None = None
    max_connections_per_client: Annotated[Integer, Field(ge=1)] | None = None
    max_requests: Annotated[Integer, Field(ge=1)] | None = None
    max_head_bytes: Integer = Field(default=65_536, ge=1024, le=1_048_576)
    max_fields: Integer = Field(default=128, ge=8, le=1024)
    max_body_bytes: Annotated[Integer, Field(ge=0)] | None = None
    min_rate: Integer = Field(default=500, ge=0)
    min_rate_after_s: Seconds = 10


class AssignmentMode(StrEnum):
    """When a bucket gets its node [B2]: at once, or with the first packet that comes for it."""

    EAGER = "eager"
    ON_DEMAND = "on_demand"


class UdpProbe(Model):
    """What a UDP service is asked, to see whether it answers: `payload` in hexadecimal digits."""

    payload: Payload = ""


def _default_port(given: Mapping[str, object]) -> int:
    return 80 if given.get("mode") is VserverMode.HTTP else 443


class Vserver(Model):
    """Virtual server: VIP + protocol + port, its bucket map, persistence rules and back ends.

    Mode `https` needs `tls` and `pool`; mode `http` needs `pool` or `redirect`, and its port is 80 unless given; mode
    `passthrough`, whose servers have the certificates, needs `pool` and may have `routes` to others; mode `direct`
    needs `nodes`, of kind direct, and has none of what belongs to a proxy. `schedulers` are the switches that may be
    active for its VIP; None: all. `packet_in_limit_per_s` bounds how many packets a second ask for a node; it counts
    with `assignment: on_demand`.
    """

    name: Name
    id: Integer = Field(ge=1, le=65535)
    mode: VserverMode = VserverMode.HTTPS
    vip: Address
    protocol: Protocol = Protocol.TCP
    port: Integer = Field(default_factory=_default_port, ge=1, le=65535)
    buckets: Buckets = 4096
    hash: HashKind = HashKeyKind.SRC_PORT
    hash_key: HashKey | None = None
    idle_timeout_s: Seconds = 90
    assignment: AssignmentMode = AssignmentMode.EAGER
    packet_in_limit_per_s: PacketInLimit = 1000
    tls: VserverTls | None = None
    pool: Name | None = None
    routes: tuple[NameRoute, ...] = ()
    redirect: Redirect | None = None
    persistence: Persistence = Persistence()
    forwarding: Forwarding = Forwarding()
    access_log: bool = False
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    nodes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    probe: UdpProbe = UdpProbe()
    schedulers: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _idle_outlives_keepalive(self) -> Self:
        reads_requests = self.mode in (VserverMode.HTTPS, VserverMode.HTTP)
        for name in ("keepalive_s", "response_s") if reads_requests else ():
            timeout_s = getattr(self.timeouts, name)
            if self.idle_timeout_s <= timeout_s:
                raise ValueError(
                    f"idle_timeout_s ({self.idle_timeout_s:g}) must exceed timeouts.{name} ({timeout_s:g}): "
                    "a bucket may move only after nodes have closed what was idle in it"
                )
        return self


class Configuration(Model):
    """The whole array."""

    controller: Controller = Controller()
    store: StoreSettings | None = None
    switches: tuple[Switch, ...] = ()
    nodes: tuple[Node, ...] = ()
    vservers: tuple[Vserver, ...] = ()
    pools: tuple[Pool, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for values in self._unique():
            seen: set[object] = set()
            for location, value in values:
                if value in seen:
                    raise MisplacedError(location, f"{value} is used twice")
                seen.add(value)
        self._check_probe_addresses()
        pools = [pool.name for pool in self.pools]
        for i, vserver in enumerate(self.vservers):
            check_mode(vserver, ("vservers", i))
            if vserver.pool is not None and vserver.pool not in pools:
                location = ("vservers", i, "pool")
                raise MisplacedError(location, f"no pool {vserver.pool!r}{nearest(vserver.pool, pools)}")
            if vserver.mode is VserverMode.PASSTHROUGH:
                check_passthrough(vserver, self.pools, ("vservers", i))
            for name in ("session_id", "learn", "tls_session_ids"):
                if getattr(vserver.persistence, name) is not None and self.store is None:
                    location = ("vservers", i, "persistence", name)
                    raise MisplacedError(location, "needs a store, where all workers find what one has kept")
        switches = {switch.name: switch for switch in self.switches}
        for i, node in enumerate(self.nodes):
            if node.kind is NodeKind.TLS and node.management is None:
                raise MisplacedError(("nodes", i, "management"), "a node of kind tls needs it: host:port")
            for name, port in node.ports.items():
                location = ("nodes", i, "ports", name)
                if name not in switches:
                    raise MisplacedError(location, f"no switch {name!r}{nearest(name, list(switches))}")
                if port not in switches[name].ports:
                    raise MisplacedError(location, f"switch {name} has no port {port}")
        self._check_schedulers()
        check_direct(self)
        check_session_ids(self)
        return self

    def _check_probe_addresses(self) -> None:
        vips = {vserver.vip: vserver for vserver in self.vservers}
        for i, switch in enumerate(self.switches):
            for name in ("probe_address", "probe_address_v6"):
                if (address := getattr(switch, name)) in vips:
                    raise MisplacedError(
                        ("switches", i, name), f"{address} is a VIP; probes need an address of their own"
                    )
            versions = {address.version for address in switch.probe_addresses}
            for vip, vserver in vips.items():
                if vip.version not in versions:
                    name = "probe_address" if vip.version == 4 else "probe_address_v6"
                    raise MisplacedError(
                        ("switches", i), f"{name} is missing: vserver {vserver.name} at {vip} is probed from it"
                    )

    def serving(self, vserver: Vserver) -> tuple[Node, ...]:
        """The nodes that a vserver's buckets may map to: those it names, or all TLS nodes."""
        if vserver.nodes is None:
            return tuple(node for node in self.nodes if node.kind is NodeKind.TLS)
        return tuple(node for node in self.nodes if node.name in vserver.nodes)

    def _check_schedulers(self) -> None:
        switches = [switch.name for switch in self.switches]
        first: dict[object, Vserver] = {}
        for i, vserver in enumerate(self.vservers):
            for j, name in enumerate(vserver.schedulers or ()):
                if name not in switches:
                    raise MisplacedError(
                        ("vservers", i, "schedulers", j), f"no switch {name!r}{nearest(name, switches)}"
                    )
            other = first.setdefault(vserver.vip, vserver)
            if set(vserver.schedulers or switches) != set(other.schedulers or switches):
                raise MisplacedError(
                    ("vservers", i, "schedulers"), f"{other.name} is at the same VIP and has other schedulers"
                )

    def _unique(self) -> Iterator[list[tuple[Location, object]]]:
        """Values that must differ from each other, each with its place."""
        for group, names in (
            ("switches", ("name",)),
            ("nodes", ("name", "id", "mac")),
            ("vservers", ("name", "id")),
            ("pools", ("name",)),
        ):
            for name in names:
                yield [((group, i, name), getattr(item, name)) for i, item in enumerate(getattr(self, group))]
        for name in ("probe_address", "probe_address_v6"):
            found = [(("switches", i, name), getattr(switch, name)) for i, switch in enumerate(self.switches)]
            yield [(location, address) for location, address in found if address is not None]
        yield [
            (("vservers", i, "vip"), f"{with_port(v.vip, v.port)}/{v.protocol}") for i, v in enumerate(self.vservers)
        ]
        for p, pool in enumerate(self.pools):
            for name in ("name", "id"):
                yield [(("pools", p, "servers", i, name), getattr(s, name)) for i, s in enumerate(pool.servers)]
