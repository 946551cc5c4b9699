"""What one node needs of the array's configuration, with the contents of the files that it names.

A node's workers, and a node that an agent feeds, never open those files: they get this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from pentaflow.config import Configuration, Node, Pool, StoreSettings, Vserver
from pentaflow.errors import ConfigurationError
from pentaflow.modes import NodeKind


class NodeConfiguration(BaseModel):
    """One node's part; made by `pentaflow.files.read_node_configuration`.

    Attributes:
        version: the number that the controller keeps it by; 0: it was read from a file.
        store: what sessions are shared by; None: nothing shares any.
        files: path, as the configuration has it → contents. They are secret.
        has_given_ticket_keys: whether a controller gives its ticket keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    version: int = 0
    node: Node
    vservers: tuple[Vserver, ...]
    pools: tuple[Pool, ...]
    store: StoreSettings | None = None
    files: Mapping[str, bytes] = Field(repr=False)
    has_given_ticket_keys: bool = False

    @classmethod
    def of(cls, configuration: Configuration, node_name: str, files: Mapping[Path, bytes], *, version: int) -> Self:
        """A node's part of a configuration. Keys of bucket hashes are no business of a node, and left out.

        Raises:
            ConfigurationError: there is no such TLS node.
        """
        vservers = vservers_of_nodes(configuration)
        return cls(
            version=version,
            node=find_node(configuration, node_name),
            vservers=tuple(vserver.model_copy(update={"hash_key": None}) for vserver in vservers),
            pools=configuration.pools,
            store=configuration.store,
            files={str(path): content for path, content in files.items()},
            has_given_ticket_keys=configuration.controller.ticket_keys is not None,
        )

    def pools_of(self, vserver: Vserver) -> tuple[Pool, ...]:
        """The servers of a vserver, its own pool first, then those of its routes; none: it redirects."""
        names = dict.fromkeys((vserver.pool, *(route.pool for route in vserver.routes)))
        known = {pool.name: pool for pool in self.pools}
        return tuple(known[name] for name in names if name is not None)

    def files_of(self, vserver: Vserver) -> dict[Path, bytes]:
        """The contents of the files that a vserver and its pool name."""
        return self._contents(vserver, self.pools_of(vserver))

    def files_of_store(self) -> dict[Path, bytes]:
        """The contents of the files that the store's settings name."""
        return self._contents(self.store)

    def _contents(self, *items: object) -> dict[Path, bytes]:
        return {path: self.files[str(path)] for item in items for _, path in named_files(item)}

    def read(self, path: Path, place: str) -> bytes:
        """The contents of a file that it names; `place` is for those who read real files."""
        del place
        return self.files[str(path)]

    def digest(self) -> str:
        """The same for two configurations of one version if they are the same, contents of files included."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def find_node(configuration: Configuration, name: str) -> Node:
    """The TLS node with a name.

    Raises:
        ConfigurationError: there is none, or it is of another kind.
    """
    for node in configuration.nodes:
        if node.name == name:
            if node.kind is not NodeKind.TLS:
                raise ConfigurationError("nodes", f"{name} is of kind {node.kind}: it serves its clients by itself")
            return node
    names = ", ".join(node.name for node in configuration.nodes) or "none"
    raise ConfigurationError("nodes", f"there is no node {name!r}; there is {names}")


def vservers_of_nodes(configuration: Configuration) -> tuple[Vserver, ...]:
    """Those that TLS nodes serve."""
    return tuple(vserver for vserver in configuration.vservers if vserver.mode.is_proxied)


def named_files(item: object, path: str = "") -> Iterator[tuple[str, Path]]:
    """The files that a part of the configuration names, each with the field that names it."""
    if isinstance(item, Path):
        yield path, item
    elif isinstance(item, BaseModel):
        for name, value in item:
            yield from named_files(value, f"{path}.{name}" if path else name)
    elif isinstance(item, Mapping):
        for name, value in item.items():
            yield from named_files(value, f"{path}.{name}")
    elif isinstance(item, tuple | list):
        for i, value in enumerate(item):
            yield from named_files(value, f"{path}[{i}]")
