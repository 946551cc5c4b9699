"""Log lines of every process: one event a line, to standard error (shell)."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass

import structlog


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a process logs; another one that it starts does the same."""

    level: str = "info"
    as_json: bool = False


class _Current:
    settings = LogSettings()


def log_settings() -> LogSettings:
    """What `configure_logs` was last told."""
    return _Current.settings


def configure_logs(level: str, *, as_json: bool) -> None:
    """Set structlog up.

    Args:
        level: name of the lowest level that is written: debug, info, warning, error.
        as_json: one JSON object a line instead of `time level event key=value …`.
    """
    _Current.settings = LogSettings(level=level, as_json=as_json)
    # gRPC's core writes lines of its own, beside the error that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
