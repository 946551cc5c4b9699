"""The one configuration schema: what the YAML file, the REST API and the command line share [O1].

Every model is frozen and refuses unknown keys. `parse` turns a YAML text into a `Configuration` or raises a
`ConfigurationError` whose place is `file:line: path.of.the[0].field`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from pentaflow.errors import ConfigurationError
from pentaflow.hash import HashKeyKind


class Model(BaseModel):
    """Base of all configuration models: frozen, strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_mac(text: str) -> int:
    """`aa:bb:cc:dd:ee:ff` → 48-bit integer; ValueError if it is not a unicast MAC address."""
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) != 6 or not all(len(p) == 2 for p in parts):
        raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
    value = int("".join(parts), 16)
    if value >> 40 & 1 or value == 0:
        raise ValueError(f"{text} is not a unicast MAC address")
    return value


def format_mac(value: int) -> str:
    """48-bit integer → `aa:bb:cc:dd:ee:ff`."""
    return value.to_bytes(6, "big").hex(":")


class HostPort(Model):
    """A TCP end point; written `host:port` in YAML."""

    host: str
    port: int = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _host_port(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ValueError(f"{value!r} is not host:port")
    return {"host": host.strip("[]"), "port": int(port)}


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two")
    return value


def _hash_key_kind(value: object) -> object:
    names = {"src": HashKeyKind.SRC, "src_port": HashKeyKind.SRC_PORT, "5tuple": HashKeyKind.FIVE_TUPLE}
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return names[value]
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Mac = Annotated[str, AfterValidator(lambda v: format_mac(parse_mac(v)))]
Endpoint = Annotated[HostPort, BeforeValidator(_host_port)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
CookieName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class Health(Model):
    """How nodes are probed [H1]: `fall` failures in a row make one down, `rise` successes up."""

    interval_ms: int = Field(default=100, ge=20, le=60_000)
    timeout_ms: int = Field(default=100, ge=10, le=60_000)
    rise: int = Field(default=2, ge=1, le=100)
    fall: int = Field(default=3, ge=1, le=100)


class Controller(Model):
    """The controller's own end points."""

    rest: Endpoint = HostPort(host="127.0.0.1", port=8080)
    election_id: int = Field(default=1, ge=1, lt=1 << 64)
    health: Health = Health()
    slots_per_node: int = Field(default=16, ge=1, le=16)


class Switch(Model):
    """A scheduler: a P4Runtime target, its layer-2 ports and the address that its probes come from."""

    name: Name
    grpc: Endpoint
    device_id: int = Field(default=1, ge=0)
    ports: tuple[Annotated[int, Field(ge=1, le=510)], ...] = Field(min_length=1)
    probe_address: IPv4Address
    mac_ageing_s: Seconds = 300


class Node(Model):
    """A TLS proxy machine. `id` is its number in the data plane: stable, never given to another node."""

    name: Name
    id: int = Field(ge=1, le=4095)
    mac: Mac
    ports: Mapping[Name, int] = Field(min_length=1)
    management: Endpoint
    weight: int = Field(default=1, ge=0, le=1000)


class Tls(Model):
    """Server certificate chain and private key, PEM files."""

    certificate: Path
    key: Path


class CookieMode(StrEnum):
    """How the server is named in the affinity cookie: authenticated, or the DLBA's plain integer."""

    AUTHENTICATED = "authenticated"
    PLAIN = "plain"


class CookiePersistence(Model):
    """Cookie injection [P1]: `server_cookie` follows `session_cookie` wherever the server sets it."""

    session_cookie: CookieName
    server_cookie: CookieName = "SpServer"
    mode: CookieMode = CookieMode.AUTHENTICATED
    secret_file: Path | None = None

    @model_validator(mode="after")
    def _secret(self) -> Self:
        if self.mode is CookieMode.AUTHENTICATED and self.secret_file is None:
            raise ValueError("mode authenticated needs a secret_file")
        if self.session_cookie == self.server_cookie:
            raise ValueError("session_cookie and server_cookie must differ")
        return self


class Persistence(Model):
    """What ties a client's session to a server; none by default."""

    cookie: CookiePersistence | None = None


class Timeouts(Model):
    """What a node waits for at most, in seconds."""

    handshake_s: Seconds = 10
    header_s: Seconds = 10
    keepalive_s: Seconds = 60
    connect_s: Seconds = 3
    response_s: Seconds = 60


class Vserver(Model):
    """Virtual server: VIP + protocol + port, its bucket map, persistence rules and back ends."""

    name: Name
    id: int = Field(ge=1, le=65535)
    vip: IPv4Address
    protocol: Literal["tcp"] = "tcp"
    port: int = Field(default=443, ge=1, le=65535)
    buckets: Annotated[int, Field(ge=256, le=65_536), AfterValidator(_power_of_two)] = 4096
    hash: Annotated[HashKeyKind, BeforeValidator(_hash_key_kind)] = HashKeyKind.SRC_PORT
    hash_key: Annotated[SecretStr, Field(pattern=r"^[0-9a-fA-F]{16}$")] | None = None
    idle_timeout_s: Seconds = 90
    tls: Tls
    pool: Name
    persistence: Persistence = Persistence()
    timeouts: Timeouts = Timeouts()

    @model_validator(mode="after")
    def _idle_outlives_keepalive(self) -> Self:
        if self.idle_timeout_s <= self.timeouts.keepalive_s:
            raise ValueError(
                f"idle_timeout_s ({self.idle_timeout_s:g}) must exceed timeouts.keepalive_s "
                f"({self.timeouts.keepalive_s:g}): a bucket may move only after nodes have closed what was idle in it"
            )
        return self


class Server(Model):
    """A back-end web server. `id` is its number in cookies: stable, never given to another server of the pool."""

    name: Name
    id: int = Field(ge=1, le=65535)
    address: Endpoint
    weight: int = Field(default=1, ge=0, le=1000)


class Policy(StrEnum):
    """How a pool chooses a server for a request that no persistence rule binds."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"


class Pool(Model):
    """Servers with a scheduling policy."""

    name: Name
    policy: Policy = Policy.ROUND_ROBIN
    servers: tuple[Server, ...] = Field(min_length=1)


class Configuration(Model):
    """The whole array."""

    controller: Controller = Controller()
    switches: tuple[Switch, ...] = ()
    nodes: tuple[Node, ...] = ()
    vservers: tuple[Vserver, ...] = ()
    pools: tuple[Pool, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in self._unique():
            seen: set[object] = set()
            for value in values:
                if value in seen:
                    raise ValueError(f"{what} {value} is used twice")
                seen.add(value)
        pools = [pool.name for pool in self.pools]
        for vserver in self.vservers:
            if vserver.pool not in pools:
                raise ValueError(f"vserver {vserver.name} names pool {vserver.pool!r}{_nearest(vserver.pool, pools)}")
        switches = {switch.name: switch for switch in self.switches}
        for node in self.nodes:
            for name, port in node.ports.items():
                if name not in switches:
                    raise ValueError(f"node {node.name} is on switch {name!r}{_nearest(name, list(switches))}")
                if port not in switches[name].ports:
                    raise ValueError(f"node {node.name} is on port {port} of {name}, which has no such port")
        return self

    def _unique(self) -> Iterator[tuple[str, list[object]]]:
        yield "switch name", [s.name for s in self.switches]
        yield "node name", [n.name for n in self.nodes]
        yield "node id", [n.id for n in self.nodes]
        yield "node mac", [n.mac for n in self.nodes]
        yield "vserver name", [v.name for v in self.vservers]
        yield "vserver id", [v.id for v in self.vservers]
        yield "vserver address", [f"{v.vip}:{v.port}/{v.protocol}" for v in self.vservers]
        yield "pool name", [p.name for p in self.pools]
        for pool in self.pools:
            yield f"pool {pool.name}: server name", [s.name for s in pool.servers]
            yield f"pool {pool.name}: server id", [s.id for s in pool.servers]


def parse(text: str, place: str, *, base: Path = Path()) -> Configuration:
    """Parse and check a YAML configuration.

    Args:
        text: the YAML document.
        place: what errors call it, normally the file's path.
        base: folder that relative paths in it are taken from.

    Raises:
        ConfigurationError: not YAML, an unknown key, a missing or wrong value, a name that nothing has.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{place}:{line}", f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(place, f"not YAML: {' '.join(str(error).split())}") from None
    if root is None or not isinstance(document, dict):
        raise ConfigurationError(place, "expected a mapping with the keys " + ", ".join(Configuration.model_fields))
    try:
        configuration = Configuration.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = first["loc"]
        path = _path_text(location)
        where = f"{place}:{_line_of(root, location)}" + (f": {path}" if path else "")
        raise ConfigurationError(where, _sentence(first["type"], first["msg"], location)) from None
    return _rebase(configuration, base)


def _rebase(configuration: Configuration, base: Path) -> Configuration:
    def vserver(v: Vserver) -> Vserver:
        tls = Tls(certificate=base / v.tls.certificate, key=base / v.tls.key)
        cookie = v.persistence.cookie
        if cookie and cookie.secret_file:
            cookie = cookie.model_copy(update={"secret_file": base / cookie.secret_file})
        return v.model_copy(update={"tls": tls, "persistence": Persistence(cookie=cookie)})

    return configuration.model_copy(update={"vservers": tuple(vserver(v) for v in configuration.vservers)})


def _path_text(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that the document has; 1-based."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        else:
            break
    return line + 1


def _sentence(kind: str, message: str, location: tuple[int | str, ...]) -> str:
    if kind == "extra_forbidden":
        names = list(_fields_at(location[:-1]))
        return f"unknown key{_nearest(str(location[-1]), names)}"
    if kind == "missing":
        return "required key is missing"
    return message.removeprefix("Value error, ")


def _fields_at(location: tuple[int | str, ...]) -> Mapping[str, object]:
    """The fields of the model that stands at `location` in the schema."""
    model: type[BaseModel] = Configuration
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m), None)


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "; there is " + (", ".join(map(repr, valid)) if valid else "none")
