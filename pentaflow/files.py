"""Reading the files that a configuration is made of (shell)."""

from __future__ import annotations

import stat
from pathlib import Path

from pentaflow.config import Configuration, SwitchTls
from pentaflow.credentials import Credentials, Identity, check_certificates, check_identity
from pentaflow.errors import ConfigurationError
from pentaflow.node_configuration import NodeConfiguration, find_node, named_files, vservers_of_nodes
from pentaflow.parsing import parse

MIN_SECRET_BYTES = 16


def load_configuration(path: Path) -> Configuration:
    """Read and check a configuration file and that the files it names can be read.

    Raises:
        ConfigurationError: anything wrong with the file or with one that it names.
    """
    configuration = parse(read_file(path, str(path)).decode(errors="replace"), str(path), base=path.parent)
    for switch in configuration.switches:
        if switch.tls is not None:
            read_switch_credentials(switch.tls, f"{path}: switch {switch.name}")
    for vserver in configuration.vservers:
        persistence = vserver.persistence
        for field, item in (("cookie", persistence.cookie), ("tls_session_ids", persistence.tls_session_ids)):
            if item and item.secret_file:
                read_secret(item.secret_file, f"{path}: vserver {vserver.name}: persistence.{field}.secret_file")
    _read_named(configuration, f"{path}: ")
    return configuration


def _read_named(configuration: Configuration, place: str) -> dict[Path, bytes]:
    """The files that the store, TLS nodes' vservers and all pools name; errors call them by `place` and their field."""
    items: list[tuple[str, object]] = [("store: ", configuration.store)]
    items += [(f"vserver {vserver.name}: ", vserver) for vserver in vservers_of_nodes(configuration)]
    items += [(f"pool {pool.name}: ", pool) for pool in configuration.pools]
    files = {}
    for name, item in items:
        for field, path in named_files(item):
            read = _read_private if field.endswith(("secret_file", "password_file")) else read_file
            files[path] = read(path, f"{place}{name}{field}")
    return files


def read_secret(path: Path, place: str) -> bytes:
    """The key in a secret file: hexadecimal text of at least 16 bytes, readable by its owner only.

    Raises:
        ConfigurationError: missing, readable by others, too short or not hexadecimal.
    """
    return parse_secret(_read_private(path, place), path, place)


def parse_secret(text: bytes, path: Path, place: str) -> bytes:
    """The key in the contents of a secret file; `path` is for errors.

    Raises:
        ConfigurationError: too short or not hexadecimal.
    """
    try:
        secret = bytes.fromhex(text.decode().strip())
    except ValueError:
        raise ConfigurationError(place, f"{path} is not hexadecimal text") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(place, f"{path} holds {len(secret)} bytes; expected at least {MIN_SECRET_BYTES}")
    return secret


def _read_private(path: Path, place: str) -> bytes:
    text = read_file(path, place)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(place, f"{path} can be read by others; expected mode 0600")
    return text


def read_node_configuration(configuration: Configuration, node_name: str, *, version: int = 0) -> NodeConfiguration:
    """A node's part of a configuration, with the files that it names; `version` as the controller counts.

    Raises:
        ConfigurationError: there is no such node, or a file can't be read.
    """
    find_node(configuration, node_name)
    files = _read_named(configuration, "")
    return NodeConfiguration.of(configuration, node_name, files, version=version)


def read_switch_credentials(tls: SwitchTls, place: str) -> Credentials:
    """What the controller needs for TLS to a switch.

    Raises:
        ConfigurationError: a file can't be read or is not what it should be.
    """
    places = (f"{place}: tls.certificate", f"{place}: tls.key", f"{place}: tls.ca")
    return read_credentials(certificate=tls.certificate, key=tls.key, ca=tls.ca, places=places)


def read_credentials(
    *, certificate: Path | None, key: Path | None, ca: Path | None, places: tuple[str, str, str]
) -> Credentials:
    """The files of one side of a TLS channel; certificate and key are given together or not at all.

    Args:
        certificate: this side's certificate and the chain behind it.
        key: its private key.
        ca: what the other side's certificate is checked against.
        places: what errors call the three.

    Raises:
        ConfigurationError: a file can't be read or is not what it should be; certificate without key, or key without.
    """
    certificate_place, key_place, ca_place = places
    identity = None
    if certificate is not None and key is not None:
        identity = Identity(certificate=read_file(certificate, certificate_place), key=read_file(key, key_place))
        check_identity(identity, certificate_place=certificate_place, key_place=key_place)
    elif certificate is not None or key is not None:
        missing = key_place if key is None else certificate_place
        raise ConfigurationError(missing, "missing: a certificate and its private key go together")
    trusted = None
    if ca is not None:
        trusted = read_file(ca, ca_place)
        check_certificates(trusted, ca_place)
    return Credentials(identity=identity, ca=trusted)


def read_file(path: Path, place: str) -> bytes:
    """A file's bytes.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(place, f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # a NUL or what no file name can hold
        raise ConfigurationError(place, f"{str(path)!r} is not a file name") from None
