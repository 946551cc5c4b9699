"""Reading the files that a configuration is made of (shell)."""

from __future__ import annotations

import stat
from pathlib import Path

from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from pentaflow.parsing import parse

MIN_SECRET_BYTES = 16


def load_configuration(path: Path) -> Configuration:
    """Read and check a configuration file and that the files it names can be read.

    Raises:
        ConfigurationError: anything wrong with the file or with one that it names.
    """
    configuration = parse(read_file(path, str(path)).decode(errors="replace"), str(path), base=path.parent)
    for vserver in configuration.vservers:
        place = f"{path}: vserver {vserver.name}"
        read_file(vserver.tls.certificate, f"{place}: tls.certificate")
        read_file(vserver.tls.key, f"{place}: tls.key")
        cookie = vserver.persistence.cookie
        if cookie and cookie.secret_file:
            read_secret(cookie.secret_file, f"{place}: persistence.cookie.secret_file")
    return configuration


def read_secret(path: Path, place: str) -> bytes:
    """The key in a secret file: hexadecimal text of at least 16 bytes, readable by its owner only.

    Raises:
        ConfigurationError: missing, readable by others, too short or not hexadecimal.
    """
    text = read_file(path, place)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(place, f"{path} can be read by others; expected mode 0600")
    try:
        secret = bytes.fromhex(text.decode().strip())
    except ValueError:
        raise ConfigurationError(place, f"{path} is not hexadecimal text") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(place, f"{path} holds {len(secret)} bytes; expected at least {MIN_SECRET_BYTES}")
    return secret


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
