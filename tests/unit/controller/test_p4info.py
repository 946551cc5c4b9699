"""The contract with the P4 program: what is missing or different is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.entries import TABLES
from controller.p4info import check_capacity, check_p4info, station_capacity
from controller.pipeline import load_pipeline
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError, PipelineMismatchError
from pentaflow.p4runtime import p4i
from support.configurations import small_document, with_ipv6


@pytest.fixture
def p4info() -> p4i.P4Info:
    return load_pipeline().p4info


def table(p4info: p4i.P4Info, alias: str) -> p4i.Table:
    return next(t for t in p4info.tables if t.preamble.alias == alias)


def action(p4info: p4i.P4Info, alias: str) -> p4i.Action:
    return next(a for a in p4info.actions if a.preamble.alias == alias)


def test_the_committed_pipeline_has_everything(p4info: p4i.P4Info) -> None:
    check_p4info(p4info, "here")
    assert {t.preamble.alias for t in p4info.tables} == set(TABLES), "and no table that nobody writes"
    assert station_capacity(p4info) == 16_382


def rename_table(p4info: p4i.P4Info) -> None:
    table(p4info, "bucket").preamble.alias = "pail"


def widen_field(p4info: p4i.P4Info) -> None:
    table(p4info, "slot").match_fields[0].bitwidth = 17


def rename_field(p4info: p4i.P4Info) -> None:
    table(p4info, "dmac").match_fields[0].name = "vid"


def make_ternary(p4info: p4i.P4Info) -> None:
    table(p4info, "arp").match_fields[1].match_type = p4i.MatchField.TERNARY


def add_field(p4info: p4i.P4Info) -> None:
    table(p4info, "admit").match_fields.add(name="port", bitwidth=9, match_type=p4i.MatchField.EXACT)


def only_default(p4info: p4i.P4Info) -> None:
    for ref in table(p4info, "flood").action_refs:
        ref.scope = p4i.ActionRef.DEFAULT_ONLY


def narrow_param(p4info: p4i.P4Info) -> None:
    action(p4info, "set_node").params[2].bitwidth = 8


def no_split(p4info: p4i.P4Info) -> None:
    refs = table(p4info, "bucket").action_refs
    refs.remove(next(ref for ref in refs if ref.id == action(p4info, "split_slot").preamble.id))


def narrow_window(p4info: p4i.P4Info) -> None:
    action(p4info, "split_slot").params[2].bitwidth = 16


def drop_param(p4info: p4i.P4Info) -> None:
    del action(p4info, "set_vserver").params[3:]


def no_idle(p4info: p4i.P4Info) -> None:
    table(p4info, "smac").idle_timeout_behavior = p4i.Table.NO_TIMEOUT


def no_packet_out(p4info: p4i.P4Info) -> None:
    del p4info.controller_packet_metadata[1]


def no_digest(p4info: p4i.P4Info) -> None:
    del p4info.digests[0]


def digest_member(p4info: p4i.P4Info) -> None:
    p4info.type_info.structs["learn_t"].members[0].type_spec.bitstring.bit.bitwidth = 16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename_table, "s1: there is no table bucket"),
        (widen_field, "s1: table slot: slot has 17 bits, expected 16"),
        (rename_field, "s1: table dmac: has vid, dst_mac, expected vlan_id"),
        (make_ternary, "s1: table arp: target_addr is matched TERNARY, expected EXACT"),
        (add_field, "s1: table admit: has port, which the controller does not set"),
        (only_default, "s1: table flood: has nothing, expected action flood_to"),
        (narrow_param, "s1: table slot: action set_node: port has 8 bits, expected 9"),
        (no_split, "s1: table bucket: has set_slot, expected action split_slot"),
        (narrow_window, "s1: table bucket: action split_slot: window has 16 bits, expected 32"),
        (
            drop_param,
            "s1: table vserver: action set_vserver: has vserver_id, bucket_mask, hash_key_kind, expected hash_key",
        ),
        (no_idle, "s1: table smac: does not notify of idle entries"),
        (no_packet_out, "s1: there is no controller header packet_out"),
        (no_digest, "s1: there is no digest learn_t"),
        (digest_member, "s1: digest learn_t: vlan_id has 16 bits, expected 12"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_differences_are_named(p4info: p4i.P4Info, change: Callable[[p4i.P4Info], None], sentence: str) -> None:
    change(p4info)
    with pytest.raises(PipelineMismatchError) as caught:
        check_p4info(p4info, "s1")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("alias", "need"),
    [
        ("slot", 32),
        ("bucket", 2 * 4096),
        ("vserver", 1),
        ("vserver_v6", 1),
        ("admit", 2),
        ("arp", 2),
        ("nd", 2),
    ],
)
def test_each_table_is_counted(p4info: p4i.P4Info, alias: str, need: int) -> None:
    configuration = Configuration.model_validate(with_ipv6(small_document()))
    table(p4info, alias).size = need
    check_capacity(p4info, configuration, "s1")
    table(p4info, alias).size = need - 1
    with pytest.raises(ConfigurationError, match=f"{need} entries are needed in table {alias}, which holds {need - 1}"):
        check_capacity(p4info, configuration, "s1")
