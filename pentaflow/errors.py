"""The errors of the project, by who is at fault.

Every error that a user can cause carries a place (what was being read) and one sentence (what was found, what was
expected). The command line prints it as one line and exits with its `exit_status`.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_FAILURE = 1
EXIT_USAGE = 2


class PentaflowError(Exception):
    """Something that the user can put right.

    Args:
        place: file, field, table or interface that the sentence is about; empty when there is none.
        message: one sentence: what was found and what was expected.

    `exit_status`: of the command that it ends.
    """

    exit_status: ClassVar[int] = EXIT_USAGE

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place
        self.message = message


class ConfigurationError(PentaflowError):
    """The configuration, or a file that it names, is wrong."""


class HostError(PentaflowError):
    """The machine lacks something: a privilege, a package, a free port, an interface."""


class UnsupportedPipelineError(PentaflowError):
    """A P4 pipeline uses a construct that the target does not run."""


class PipelineMismatchError(PentaflowError):
    """The pipeline that a switch runs is not the one that the controller was written for."""
