"""The pipeline that the controller pushes: p4c's output, from the package or from the source tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

import pentaflow
from pentaflow.errors import HostError
from pentaflow.p4runtime import p4i

_PACKAGE = Path(pentaflow.__file__).parent
_FOLDERS = (_PACKAGE / "p4build", _PACKAGE.parent / "p4" / "build")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """P4Info, read, and the files that it and the device's program are in."""

    p4info: p4i.P4Info
    p4info_path: Path
    program_path: Path


def load_pipeline() -> Pipeline:
    """Read the P4Info of the pipeline that belongs to this controller.

    Raises:
        HostError: the installation lacks it.
    """
    for folder in _FOLDERS:
        p4info_path, program_path = folder / "pentaflow.p4info.txtpb", folder / "pentaflow.json"
        if p4info_path.is_file() and program_path.is_file():
            p4info = text_format.Parse(p4info_path.read_text("utf-8"), p4i.P4Info())
            return Pipeline(p4info=p4info, p4info_path=p4info_path, program_path=program_path)
    raise HostError("p4/build", "pentaflow.json and pentaflow.p4info.txtpb are missing; run `make p4`")
