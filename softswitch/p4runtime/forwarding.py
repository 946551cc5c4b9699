"""A realised configuration: the pipeline, its P4Info, its state, and the way to write and read it."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from pentaflow.errors import PentaflowError
from pentaflow.p4runtime import p4r
from softswitch.p4runtime.agreement import check_agreement
from softswitch.p4runtime.arrays import Counters, Registers
from softswitch.p4runtime.digests import Digests
from softswitch.p4runtime.idle import IdleTimers
from softswitch.p4runtime.p4info import index_p4info
from softswitch.p4runtime.replication import Replication
from softswitch.p4runtime.status import Code, RequestError
from softswitch.p4runtime.table_entries import TableEntries
from softswitch.pipeline import Engine, load_pipeline

_PLACE = "p4_device_config"

_KNOWN_TYPES = frozenset({p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE})


class Forwarding:
    """A realised forwarding-pipeline configuration.

    Raises:
        RequestError: INVALID_ARGUMENT when the switch can't run it (P4Runtime 1.5, "SetForwardingPipelineConfig RPC").
    """

    def __init__(self, config: p4r.ForwardingPipelineConfig, engine: Engine = Engine.PYTHON) -> None:
        if not config.HasField("p4info"):
            raise RequestError(Code.INVALID_ARGUMENT, "the configuration has no p4info")
        if not config.p4_device_config:
            raise RequestError(
                Code.INVALID_ARGUMENT, "the configuration has no p4_device_config: BMv2 JSON was expected"
            )
        try:
            self.info = index_p4info(config.p4info)
            self.pipeline = load_pipeline(config.p4_device_config, _PLACE, engine)
            check_agreement(
                self.info,
                tables=self.pipeline.tables,
                counters=self.pipeline.counters,
                registers=self.pipeline.registers,
            )
        except PentaflowError as error:
            raise RequestError(Code.INVALID_ARGUMENT, str(error)) from error
        if self.pipeline.not_native is not None:
            structlog.get_logger().warning("no native code, Python runs the pipeline", reason=self.pipeline.not_native)
        self.config = config
        self.timers = IdleTimers()
        self.digests = Digests(self.info.digests)
        self.tables = TableEntries(self.info, self.pipeline.tables, self.timers)
        self._counters = Counters(self.info, self.pipeline.counters)
        self._registers = Registers(self.info, self.pipeline.registers)
        self._replication = Replication(self.pipeline.multicast_groups)

    def write(self, update: p4r.Update, now_ns: int) -> None:
        """Apply one update.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        kind = update.type
        if kind not in _KNOWN_TYPES:
            raise RequestError(Code.INVALID_ARGUMENT, f"update type {kind} is not INSERT, MODIFY or DELETE")
        entity = update.entity
        match entity.WhichOneof("entity"):
            case "table_entry":
                self.tables.write(kind, entity.table_entry, now_ns)
            case "direct_counter_entry":
                self.tables.write_counter(kind, entity.direct_counter_entry)
            case "counter_entry":
                _only_modify(kind, "a counter's cells are")
                self._counters.write(entity.counter_entry)
            case "register_entry":
                _only_modify(kind, "a register's cells are")
                self._registers.write(entity.register_entry)
            case "packet_replication_engine_entry":
                self._replication.write(kind, entity.packet_replication_engine_entry)
            case "digest_entry":
                self.digests.write(kind, entity.digest_entry)
            case None:
                raise RequestError(Code.INVALID_ARGUMENT, "the update has no entity")
            case other:
                raise RequestError(Code.UNIMPLEMENTED, f"{other} is not supported")

    def read(self, query: p4r.Entity, now_ns: int) -> Iterator[p4r.Entity]:
        """The entities that a query selects.

        Raises:
            RequestError: before the first entity, with the code that the specification names.
        """
        match query.WhichOneof("entity"):
            case "table_entry":
                return self.tables.read(query.table_entry, now_ns)
            case "direct_counter_entry":
                return self.tables.read_counters(query.direct_counter_entry)
            case "counter_entry":
                return self._counters.read(query.counter_entry)
            case "register_entry":
                return self._registers.read(query.register_entry)
            case "packet_replication_engine_entry":
                return self._replication.read(query.packet_replication_engine_entry)
            case "digest_entry":
                return self.digests.read(query.digest_entry)
            case None:
                raise RequestError(Code.INVALID_ARGUMENT, "the query has no entity")
            case other:
                if _names_an_object(query):
                    raise RequestError(Code.UNIMPLEMENTED, f"{other} is not supported")
                # A program that has any is refused when it is loaded: there are none to return.
                return iter(())


def _only_modify(kind: p4r.Update.Type.ValueType, what: str) -> None:
    if kind != p4r.Update.MODIFY:
        raise RequestError(Code.INVALID_ARGUMENT, f"{what} always there: they can only be modified")


def _names_an_object(query: p4r.Entity) -> bool:
    """Whether a query of an unsupported kind has an id; without one it is a wildcard."""
    return any(
        (
            query.action_profile_member.action_profile_id,
            query.action_profile_group.action_profile_id,
            query.meter_entry.meter_id,
            query.direct_meter_entry.table_entry.table_id,
            query.value_set_entry.value_set_id,
            query.extern_entry.extern_type_id,
        )
    )
