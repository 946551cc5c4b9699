"""Compiles C at run time and keeps what comes of it (shell).

Libraries lie in `$XDG_CACHE_HOME/pentaflow` (or `~/.cache/pentaflow`), by the digest of source, compiler and options.
They are loaded into this process: the folder must be this user's, and nobody else's to write.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

_OPTIONS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-w")
_TIMEOUT_S = 60
_LAST_LINE_LENGTH = 200


class BuildError(Exception):
    """There is no compiler, or it failed: one sentence says why."""


def build_library(source: str, options: tuple[str, ...] = ()) -> Path:
    """The shared library of a C source.

    Args:
        source: the C.
        options: more compiler options.

    Raises:
        BuildError: it can't be compiled here.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise BuildError("there is no C compiler (cc) on PATH")
    try:
        folder = _cache_folder()
        version = _run([compiler, "--version"])
        digest = hashlib.sha256("\0".join((source, version, *_OPTIONS, *options)).encode()).hexdigest()
        library = folder / f"{digest}.so"
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                code, made = Path(work) / "pipeline.c", Path(work) / "pipeline.so"
                code.write_text(source, encoding="utf-8")
                _run([compiler, *_OPTIONS, *options, "-o", str(made), str(code)])
                made.replace(library)
    except OSError as error:
        raise BuildError(f"the cache of compiled pipelines can't be used: {error}") from None
    return library


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base) / "pentaflow"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise BuildError(f"{folder} belongs to somebody else, or others may write to it: nothing there is loaded")
    return folder


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        raise BuildError(f"the C compiler took longer than {_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or [f"status {error.returncode}"]
        raise BuildError(f"the C compiler failed: {lines[0][:_LAST_LINE_LENGTH]}") from None
    return done.stdout
