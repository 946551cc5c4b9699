"""The index of a P4Info message, and what it refuses; tests/conformance has the comparison with the device config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from finsy.proto import p4i

from pentaflow.errors import ConfigurationError, PentaflowError, UnsupportedPipelineError
from softswitch.p4runtime.p4info import Scope, index_p4info
from softswitch.tables import MatchKind
from support.p4rt import P4INFO


def test_tables_are_indexed_with_all_that_a_client_may_say() -> None:
    info = index_p4info(P4INFO)
    tables = {table.name.removeprefix("ConformanceIngress."): table for table in info.tables.values()}
    exact_two = tables["exact_two"]
    assert [(field.id, field.width, field.kind) for field in exact_two.fields] == [
        (1, 1, MatchKind.EXACT),
        (2, 128, MatchKind.EXACT),
    ]
    scopes = {action.name.split(".")[-1]: exact_two.scopes[action.id] for action in exact_two.actions.values()}
    assert scopes == {"forward": Scope.TABLE_AND_DEFAULT, "drop": Scope.TABLE_ONLY, "reason": Scope.DEFAULT_ONLY}
    assert {name for name, table in tables.items() if table.needs_priority} == {"ternary_two", "mixed"}
    assert {name for name, table in tables.items() if table.const_default} == {"exact_one"}
    assert {name for name, table in tables.items() if table.supports_idle_timeout} == {"exact_one"}
    assert {name for name, table in tables.items() if table.has_counter} == {"exact_one"}
    assert {name for name, table in tables.items() if table.is_const} == {"fixed"}


def test_externs_and_controller_headers_are_indexed() -> None:
    info = index_p4info(P4INFO)
    [counter] = info.counters.values()
    [register] = info.registers.values()
    [digest] = info.digests.values()
    assert (counter.name, counter.size) == ("ConformanceIngress.seen", 8)
    assert (register.size, register.width) == (4, 32)
    assert (digest.name, digest.is_struct, digest.widths) == ("learn_t", True, (48, 9))
    assert info.packet_in is not None
    assert info.packet_in.width == 32
    assert info.packet_out is not None
    assert [field.name for field in info.packet_out.fields] == ["egress_port", "pad", "act"]


def _other_match(p4info: p4i.P4Info) -> None:
    p4info.tables[0].match_fields[0].other_match_type = "regex"


def _group_scope(p4info: p4i.P4Info) -> None:
    p4info.tables[0].action_refs[0].scope = cast(Any, 3)  # GROUP_ACTION, which older messages lack


def _implementation(p4info: p4i.P4Info) -> None:
    p4info.tables[0].implementation_id = 1


def _signed_register(p4info: p4i.P4Info) -> None:
    p4info.registers[0].type_spec.bitstring.int.bitwidth = 32


def _digest_of_a_header(p4info: p4i.P4Info) -> None:
    p4info.digests[0].type_spec.header.name = "ethernet_t"


def _third_header(p4info: p4i.P4Info) -> None:
    p4info.controller_packet_metadata.add().preamble.name = "packet_sideways"


def _direct_meter(p4info: p4i.P4Info) -> None:
    p4info.direct_meters.add().preamble.name = "rate"


def _no_id(p4info: p4i.P4Info) -> None:
    p4info.tables[0].preamble.id = 0


def _dangling_action(p4info: p4i.P4Info) -> None:
    p4info.tables[0].action_refs[0].id = 5


def _two_fields_one_id(p4info: p4i.P4Info) -> None:
    p4info.tables[1].match_fields[0].id = 2


def _odd_header(p4info: p4i.P4Info) -> None:
    p4info.controller_packet_metadata[0].metadata[0].bitwidth = 10


def _no_width(p4info: p4i.P4Info) -> None:
    p4info.actions[4].params[0].bitwidth = 0


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (_other_match, UnsupportedPipelineError, "match kind 'regex'"),
        (_group_scope, UnsupportedPipelineError, "scope of action"),
        (_implementation, UnsupportedPipelineError, "table implementation 'ConformanceIngress.exact_one'"),
        (_signed_register, UnsupportedPipelineError, "register 'ConformanceIngress.last_type' is not of type bit<W>"),
        (_digest_of_a_header, UnsupportedPipelineError, "digest 'learn_t' of type 'header'"),
        (_third_header, UnsupportedPipelineError, "packet_sideways"),
        (_direct_meter, UnsupportedPipelineError, "direct meter 'rate'"),
        (_no_id, ConfigurationError, "'ConformanceIngress.exact_one' has no id"),
        (_dangling_action, ConfigurationError, "refers to action 5"),
        (_two_fields_one_id, ConfigurationError, "'ConformanceIngress.exact_two' has two members with one id"),
        (_odd_header, ConfigurationError, "'packet_out' has 25 bits"),
        (_no_width, ConfigurationError, "'port' of 'ConformanceIngress.two' has no id or no bit width"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[p4i.P4Info], None], kind: type[PentaflowError], words: str) -> None:
    p4info = p4i.P4Info()
    p4info.CopyFrom(P4INFO)
    spoil(p4info)
    with pytest.raises(kind, match=words) as caught:
        index_p4info(p4info)
    assert caught.value.place == "P4Info"
