"""Where the file of a node's embedded store is (shell): the supervisor makes room for it, workers make the file."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pentaflow.errors import ConfigurationError
from pentaflow.persistence import StoreSettings

_RUNTIME = Path("/run")


class StoreFolder:
    """The folder of the store's file; one of its own, which ends with the node, unless the configuration has a path."""

    def __init__(self, user: str) -> None:
        """
        Args:
            user: that workers run as; empty: this process's own.
        """
        self._user = user
        self._own: Path | None = None

    def file_for(self, settings: StoreSettings | None) -> Path | None:
        """The file that workers are to use, its folder made if there is none; None: they use none.

        Raises:
            ConfigurationError: the folder cannot be made.
        """
        if settings is None or settings.redis is not None:
            return None
        if settings.sqlite is not None:
            path = Path(settings.sqlite)
            try:
                path.parent.mkdir(mode=0o700)
                self._give(path.parent)
            except FileExistsError:
                pass
            except OSError as error:
                raise ConfigurationError("store.sqlite", f"cannot make {path.parent}: {error.strerror}") from None
            return path
        if self._own is None:
            # Not where what is old is cleaned away, if there is a choice.
            self._own = Path(
                tempfile.mkdtemp(prefix="pentaflow-store-", dir=_RUNTIME if os.access(_RUNTIME, os.W_OK) else None)
            )
            self._give(self._own)
        return self._own / "store.sqlite"

    def _give(self, folder: Path) -> None:
        if self._user and os.geteuid() == 0:
            shutil.chown(folder, self._user)

    def remove(self) -> None:
        """Remove the folder of its own, with what is in it."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None
