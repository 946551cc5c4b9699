"""From the configuration to a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pentaflow.credentials import check_certificates
from pentaflow.persistence import StoreSettings
from tlsnodes.store.sqlite import SqliteStore
from tlsnodes.store.store import SessionStore


def open_store(settings: StoreSettings, file: Path | None, files: Mapping[Path, bytes]) -> SessionStore:
    """The store that is configured. A Redis server need not be there yet.

    Args:
        settings: what is configured.
        file: of the embedded store; None: it is Redis.
        files: path → contents of what the settings name.

    Raises:
        ConfigurationError: the file cannot be opened or is something else; the authority is no certificate.
    """
    timeout_s = settings.timeout_ms / 1000
    if file is not None:
        return SqliteStore(file, timeout_s=timeout_s, max_bytes=settings.max_mib << 20)
    from tlsnodes.store.redis import RedisStore  # and the whole of redis-py

    assert settings.redis is not None
    password, ca = settings.password_file, settings.ca
    if ca is not None:
        check_certificates(files[ca], "store.ca")
    return RedisStore(
        settings.redis,
        password=files[password].decode(errors="replace").strip() if password is not None else None,
        ca_pem=files[ca].decode() if ca is not None else None,
        timeout_s=timeout_s,
    )
