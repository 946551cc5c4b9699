"""Compiles the Cython modules of `tlsnodes`, each beside its source (shell).

`python -m tlsnodes.build` compiles what has changed since the last time; `scripts/bootstrap` runs it, and the Hatch
build hook calls `build`. It needs Cython, setuptools, a C compiler, and the headers of Python and OpenSSL (Debian:
gcc, python3-dev, libssl-dev). Generated C and object files lie in `build/cython`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

_WORK = Path("build/cython")
_JOBS = 2
# With `nonecheck` an attribute of None is an error of one connection, as in Python, and no crash of the worker; it
# costs nothing that can be measured.
_DIRECTIVES = {"language_level": 3, "embedsignature": True, "nonecheck": True}
# What Cython generates compares signed with unsigned and leaves parameters unused.
_COMPILER_OPTIONS = ["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-sign-compare"]


def build(root: Path) -> list[Path]:
    """Compile every `tlsnodes/**/*.pyx` below `root` and return the modules made.

    Raises:
        Exception: Cython's or the compiler's, when a source or a header is not as it should be.
    """
    this = Path(__file__).resolve()
    with contextlib.chdir(root):
        extensions = [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                include_dirs=["."],
                libraries=["ssl", "crypto"],
                depends=[str(this)],
                extra_compile_args=_COMPILER_OPTIONS,
            )
            for source in sorted(Path("tlsnodes").rglob("*.pyx"))
        ]
        # Cython looks at sources, not at the options that are written here.
        stale = any(made.stat().st_mtime < this.stat().st_mtime for made in _WORK.rglob("*.c"))
        modules = cythonize(
            extensions, build_dir=str(_WORK), compiler_directives=_DIRECTIVES, force=stale or None, quiet=True
        )
        command = build_ext(Distribution({"name": "tlsnodes", "ext_modules": modules}))
        command.inplace = True
        command.parallel = _JOBS
        command.build_lib = command.build_temp = str(_WORK)
        command.ensure_finalized()
        command.run()
        return [root / command.get_ext_filename(extension.name) for extension in extensions]


if __name__ == "__main__":
    build(Path(__file__).resolve().parents[1])
