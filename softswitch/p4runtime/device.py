"""The device behind the server: its clients, the configuration that packets go through, and the one that is saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.arbitration import Arbitration
from softswitch.p4runtime.forwarding import Forwarding
from softswitch.p4runtime.reconcile import carry_state
from softswitch.p4runtime.status import Code, RequestError
from softswitch.pipeline import Engine

_Request = p4r.SetForwardingPipelineConfigRequest
_Response = p4r.GetForwardingPipelineConfigRequest


def election_id(message: p4r.MasterArbitrationUpdate | p4r.WriteRequest | _Request) -> int | None:
    """The 128-bit election id of a message; None when it is unset, which is lower than any."""
    if not message.HasField("election_id"):
        return None
    return message.election_id.high << 64 | message.election_id.low


class Device:
    """One P4 device.

    Attributes:
        arbitration: its clients.
        active: what packets go through; None before the first configuration is committed.
    """

    def __init__(self, device_id: int, engine: Engine = Engine.PYTHON) -> None:
        self.device_id = device_id
        self.arbitration = Arbitration(device_id)
        self._engine = engine
        self.active: Forwarding | None = None
        self._saved: Forwarding | None = None

    def current(self) -> Forwarding:
        """What reads and writes refer to: the configuration that was saved or committed last.

        Raises:
            RequestError: FAILED_PRECONDITION when there is none.
        """
        current = self._saved or self.active
        if current is None:
            raise RequestError(Code.FAILED_PRECONDITION, "No forwarding pipeline config has been set for this device")
        return current

    def check_write(self, request: p4r.WriteRequest) -> Forwarding:
        """The checks of a Write before its updates, in the specification's order (P4Runtime 1.5, "Write RPC")."""
        _refuse_role_id(request.role_id)
        self.arbitration.check_writer(request.device_id, request.role, election_id(request))
        forwarding = self.current()
        if request.atomicity != p4r.WriteRequest.CONTINUE_ON_ERROR:
            raise RequestError(
                Code.UNIMPLEMENTED, "only batches with CONTINUE_ON_ERROR are supported, nothing was written"
            )
        return forwarding

    def check_read(self, request: p4r.ReadRequest) -> Forwarding:
        """The checks of a Read before its queries (P4Runtime 1.5, "Read RPC")."""
        self.arbitration.check_device(request.device_id)
        return self.current()

    def check_config(self, request: _Request) -> bool:
        """The checks of a SetForwardingPipelineConfig before its configuration is looked into.

        Returns:
            whether `realise` has to make a pipeline of it.

        Raises:
            RequestError: with the code that the specification names (P4Runtime 1.5, "SetForwardingPipelineConfig RPC").
        """
        _refuse_role_id(request.role_id)
        self.arbitration.check_writer(request.device_id, request.role, election_id(request))
        match request.action:
            case _Request.VERIFY | _Request.VERIFY_AND_SAVE | _Request.VERIFY_AND_COMMIT:
                _require_config(request)
                return True
            case _Request.COMMIT:
                if request.HasField("config"):
                    raise RequestError(Code.INVALID_ARGUMENT, "COMMIT takes no configuration: it commits the saved one")
                if self._saved is None:
                    raise RequestError(Code.NOT_FOUND, "there is no saved configuration to commit")
                return False
            case _Request.RECONCILE_AND_COMMIT:
                _require_config(request)
                return not self._runs_program_of(request)
            case other:
                raise RequestError(Code.INVALID_ARGUMENT, f"action {other} is not one of the specification's")

    def realise(self, request: _Request) -> Forwarding:
        """The pipeline of a configuration. Touches nothing of the device, and takes long: made for a thread of its own.

        Raises:
            RequestError: INVALID_ARGUMENT when the switch can't run it.
        """
        return Forwarding(request.config, self._engine)

    def set_config(self, request: _Request, realised: Forwarding | None) -> None:
        """Verify, save or commit a configuration (P4Runtime 1.5, "SetForwardingPipelineConfig RPC").

        Writes after VERIFY_AND_SAVE go to the saved pipeline, which carries no packets yet: COMMIT puts it in place
        with everything that was written to it.

        Args:
            request: checked anew, since its client may have lost its rank while the pipeline was made.
            realised: what `realise` made of it, if `check_config` asked for that.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        self.check_config(request)
        match request.action:
            case _Request.VERIFY_AND_SAVE:
                self._saved = realised
            case _Request.VERIFY_AND_COMMIT:
                self.active, self._saved = realised, None
            case _Request.COMMIT:
                self.active, self._saved = self._saved, None
            case _Request.RECONCILE_AND_COMMIT:
                if realised is not None:
                    self.active = realised
                elif self.active is not None:
                    self.active.config = request.config
                self._saved = None

    def preserve(self, request: _Request, realised: Forwarding | None, now_ns: int) -> Iterator[None]:
        """Carry the forwarding state to a pipeline that `set_config` is to commit, when the request asks for that.

        See `carry_state`: packets may go on between the steps, but not between the last one and `set_config`.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        self.check_config(request)
        if request.action == _Request.RECONCILE_AND_COMMIT and realised is not None and self.active is not None:
            yield from carry_state(self.active, realised, now_ns)

    def _runs_program_of(self, request: _Request) -> bool:
        """Whether the active configuration is of the same program: what there is goes on then."""
        return (
            self.active is not None
            and self.active.config.p4_device_config == request.config.p4_device_config
            and self.active.config.p4info == request.config.p4info
        )

    def get_config(self, request: p4r.GetForwardingPipelineConfigRequest) -> p4r.GetForwardingPipelineConfigResponse:
        """The configuration that reads and writes refer to, as far as it is asked for; unset when there is none."""
        self.arbitration.check_device(request.device_id)
        response = p4r.GetForwardingPipelineConfigResponse()
        current = self._saved or self.active
        if current is None:
            return response
        wanted = _wanted(request.response_type)
        response.config.SetInParent()
        for field in wanted:
            if field == "p4_device_config":
                response.config.p4_device_config = current.config.p4_device_config
            elif current.config.HasField(field):
                getattr(response.config, field).CopyFrom(getattr(current.config, field))
        return response


def _require_config(request: _Request) -> None:
    if not request.HasField("config"):
        raise RequestError(Code.INVALID_ARGUMENT, "the request has no configuration")


def _refuse_role_id(role_id: int) -> None:
    if role_id:
        raise RequestError(Code.UNIMPLEMENTED, "role_id is deprecated since P4Runtime 1.4: name the role instead")


def _wanted(response_type: int) -> Sequence[Literal["p4info", "p4_device_config", "cookie"]]:
    match response_type:
        case _Response.ALL:
            return ("p4info", "p4_device_config", "cookie")
        case _Response.COOKIE_ONLY:
            return ("cookie",)
        case _Response.P4INFO_AND_COOKIE:
            return ("p4info", "cookie")
        case _Response.DEVICE_CONFIG_AND_COOKIE:
            return ("p4_device_config", "cookie")
        case other:
            raise RequestError(Code.INVALID_ARGUMENT, f"response type {other} is not one of the specification's")
