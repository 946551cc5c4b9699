"""Hatch build hook: compiles what is to be compiled in place, for wheels and editable installs alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What a wheel has beside its packages; an editable install has it where it is, and a copy would hide the changed file.
_IN_WHEELS = {"mininet/pentaflow_mn.py": "pentaflow_mn.py", "p4/build": "pentaflow/p4build"}


class CompiledModulesHook(BuildHookInterface):  # type: ignore[misc]  # hatchling's base class is untyped here
    """Builds the Cython modules of `tlsnodes`; the wheel is bound to this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatch calls this before it collects files; `version` is "standard" or "editable"."""
        root = Path(self.root)
        made = _load(root / "tlsnodes/build.py").build(root)
        build_data["artifacts"].extend(str(module.relative_to(root)) for module in made)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["force_include"].update({str(root / source): target for source, target in _IN_WHEELS.items()})


def _load(path: Path) -> ModuleType:
    """By path: while it is being built, the project is not importable."""
    specification = importlib.util.spec_from_file_location("build", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
