"""Canonical status codes and the error that carries one back to a P4Runtime client."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from google.protobuf import any_pb2

from pentaflow.p4runtime import p4r, rpc_status

ERROR_SPACE = "pentaflow-softswitch"


class Code(IntEnum):
    """gRPC's canonical codes (google.rpc.Code) that the server answers with."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14


class RequestError(Exception):
    """A request, or one update of a batch, that is refused.

    Args:
        code: the canonical code that the specification names for the case.
        message: one sentence: what was found and what was expected.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def batch_status(summary: str, results: Sequence[RequestError | None]) -> rpc_status.Status:
    """The status of a batch in which something failed: one `p4.v1.Error` for each element, in order.

    P4Runtime 1.5, "Error Reporting Messages" and "Write RPC: Error Reporting".
    """
    status = rpc_status.Status(code=Code.UNKNOWN, message=summary)
    for result in results:
        error = p4r.Error()
        if result is not None:
            error.canonical_code = result.code
            error.message = result.message
            error.space = ERROR_SPACE
        detail = any_pb2.Any()
        detail.Pack(error)
        status.details.append(detail)
    return status
