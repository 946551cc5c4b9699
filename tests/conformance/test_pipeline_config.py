"""P4Runtime 1.5, "SetForwardingPipelineConfig RPC", "GetForwardingPipelineConfig RPC" and "Capabilities RPC"."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from finsy.proto import p4i, p4r

from softswitch.p4runtime.status import Code
from support.p4rt import (
    DEVICE_CONFIG,
    DEVICE_ID,
    P4INFO,
    Client,
    Config,
    SetConfig,
    Target,
    action,
    config,
    departs,
    entry,
    exact_one,
    refused,
    table,
)

COOKIE = Config.Cookie(cookie=42)
Get = p4r.GetForwardingPipelineConfigRequest
ANY_TABLE = p4r.Entity(table_entry=p4r.TableEntry())


@pytest.fixture
async def fresh(target: Target) -> AsyncIterator[Client]:
    """The primary of a target without a pipeline."""
    async with Client(target) as client:
        await client.become(Code.OK, 1)
        yield client


async def test_nothing_can_be_written_or_read_before_there_is_a_pipeline(fresh: Client) -> None:
    with refused(Code.FAILED_PRECONDITION):
        await fresh.insert(exact_one(1))
    with refused(Code.FAILED_PRECONDITION):
        await fresh.read(ANY_TABLE)


@departs("answers FAILED_PRECONDITION")
async def test_before_there_is_a_pipeline_none_is_returned(fresh: Client) -> None:
    assert not (await fresh.get_config()).HasField("config")


async def test_only_the_primary_may_set_a_config(target: Target, fresh: Client) -> None:
    async with Client(target) as backup:
        await backup.become(Code.ALREADY_EXISTS, 0)
        with refused(Code.PERMISSION_DENIED):
            await backup.set_config(SetConfig.VERIFY_AND_COMMIT, config())


@departs("looks at the election first")
async def test_another_device_is_not_found(fresh: Client) -> None:
    request = SetConfig(
        device_id=DEVICE_ID + 1, election_id=fresh.election_id, action=SetConfig.VERIFY_AND_COMMIT, config=config()
    )
    with refused(Code.NOT_FOUND):
        await fresh.stub.SetForwardingPipelineConfig(request)


async def test_commit_makes_the_config_readable(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config(cookie=COOKIE))
    got = (await fresh.get_config()).config
    assert got.p4info == P4INFO
    assert got.cookie == COOKIE
    assert await fresh.read(entry("exact_one")) == []


async def test_the_device_config_is_returned_as_it_was_sent(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    got = (await fresh.get_config()).config
    assert got.p4_device_config == DEVICE_CONFIG
    assert not got.HasField("cookie")


@pytest.mark.parametrize(
    ("response_type", "fields"),
    [
        (Get.ALL, {"p4info", "p4_device_config", "cookie"}),
        (Get.COOKIE_ONLY, {"cookie"}),
        (Get.P4INFO_AND_COOKIE, {"p4info", "cookie"}),
        (Get.DEVICE_CONFIG_AND_COOKIE, {"p4_device_config", "cookie"}),
    ],
)
async def test_the_response_type_chooses_the_fields(fresh: Client, response_type: int, fields: set[str]) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config(cookie=COOKIE))
    got = (await fresh.get_config(response_type)).config
    assert {field.name for field, _ in got.ListFields()} == fields


@departs("ends with a VERIFY of its first configuration")
async def test_verify_changes_nothing(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY, config())
    with refused(Code.FAILED_PRECONDITION):
        await fresh.read(ANY_TABLE)


async def test_commit_clears_the_forwarding_state(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    await fresh.insert(exact_one(1))
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    assert await fresh.read(entry("exact_one")) == []


async def test_save_redirects_writes_and_commit_keeps_them(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    await fresh.insert(exact_one(1))
    await fresh.set_config(SetConfig.VERIFY_AND_SAVE, config(cookie=COOKIE))
    await fresh.insert(exact_one(2))
    await fresh.set_config(SetConfig.COMMIT, None)
    assert (await fresh.get_config()).config.cookie == COOKIE
    [only] = await fresh.read(entry("exact_one"))
    assert only.table_entry.match[0].exact.value == b"\2"


@departs("answers UNKNOWN")
async def test_commit_without_a_saved_config_is_not_found(fresh: Client) -> None:
    with refused(Code.NOT_FOUND):
        await fresh.set_config(SetConfig.COMMIT, None)


@departs("ignores the configuration")
async def test_commit_takes_no_config(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_SAVE, config())
    with refused(Code.INVALID_ARGUMENT):
        await fresh.set_config(SetConfig.COMMIT, config())


@departs("does not implement RECONCILE_AND_COMMIT for an unchanged program")
async def test_reconcile_keeps_the_state_of_the_same_program(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    await fresh.insert(exact_one(1))
    await fresh.set_config(SetConfig.RECONCILE_AND_COMMIT, config(cookie=COOKIE))
    assert (await fresh.get_config()).config.cookie == COOKIE
    assert len(await fresh.read(entry("exact_one"))) == 1


@pytest.mark.parametrize("kind", [SetConfig.VERIFY, SetConfig.VERIFY_AND_SAVE, SetConfig.VERIFY_AND_COMMIT])
@departs("answers UNKNOWN, or OK")
async def test_a_missing_config_is_invalid(fresh: Client, kind: SetConfig.Action.ValueType) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await fresh.set_config(kind, None)


async def test_an_unspecified_action_is_invalid(fresh: Client) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await fresh.set_config(SetConfig.UNSPECIFIED, config())


def _meter(p4info: p4i.P4Info) -> None:
    p4info.meters.add().preamble.name = "police"


def _profile(p4info: p4i.P4Info) -> None:
    p4info.action_profiles.add().preamble.name = "ecmp"


def _value_set(p4info: p4i.P4Info) -> None:
    p4info.value_sets.add().preamble.name = "ports"


def _extern(p4info: p4i.P4Info) -> None:
    p4info.externs.add(extern_type_name="Cipher")


def _width(p4info: p4i.P4Info) -> None:
    _table(p4info, "exact_one").match_fields[0].bitwidth = 47


def _field_name(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").match_fields[0].name = "hdr.ipv6.source"


def _kind(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").match_fields[0].match_type = p4i.MatchField.EXACT


def _table_name(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").preamble.name = "ConformanceIngress.shortest"


def _missing_table(p4info: p4i.P4Info) -> None:
    p4info.tables.remove(_table(p4info, "longest"))


def _parameter(p4info: p4i.P4Info) -> None:
    next(action for action in p4info.actions if action.preamble.alias == "forward").params[0].bitwidth = 8


def _missing_action(p4info: p4i.P4Info) -> None:
    del _table(p4info, "longest").action_refs[0]


def _size(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").size = 65


def _idle_timeout(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").idle_timeout_behavior = p4i.Table.NOTIFY_CONTROL


def _same_id(p4info: p4i.P4Info) -> None:
    _table(p4info, "longest").preamble.id = table("exact_one").preamble.id


def _counter_size(p4info: p4i.P4Info) -> None:
    p4info.counters[0].size = 9


def _translation(p4info: p4i.P4Info) -> None:
    p4info.type_info.new_types["port_id_t"].translated_type.sdn_bitwidth = 32


def _table(p4info: p4i.P4Info, alias: str) -> p4i.Table:
    return next(table for table in p4info.tables if table.preamble.alias == alias)


@departs("PI checks less of the P4Info")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_meter, ["meter", "police"]),
        (_profile, ["action profile", "ecmp"]),
        (_value_set, ["value set", "ports"]),
        (_extern, ["extern", "Cipher"]),
        (_width, ["hdr.ethernet.dst", "47", "48"]),
        (_field_name, ["hdr.ipv6.source"]),
        (_kind, ["hdr.ipv6.dst", "exact", "lpm"]),
        (_table_name, ["ConformanceIngress.shortest"]),
        (_missing_table, ["ConformanceIngress.longest"]),
        (_parameter, ["ConformanceIngress.forward", "8", "9"]),
        (_missing_action, ["ConformanceIngress.forward", "ConformanceIngress.longest"]),
        (_size, ["ConformanceIngress.longest", "65", "64"]),
        (_idle_timeout, ["ConformanceIngress.longest", "idle timeouts"]),
        (_same_id, ["same id"]),
        (_counter_size, ["ConformanceIngress.seen", "9", "8"]),
        (_translation, ["translated type", "port_id_t"]),
    ],
)
async def test_a_p4info_that_does_not_fit_is_refused_by_name(
    fresh: Client, spoil: Callable[[p4i.P4Info], None], words: list[str]
) -> None:
    p4info = p4i.P4Info()
    p4info.CopyFrom(P4INFO)
    spoil(p4info)
    with refused(Code.INVALID_ARGUMENT, *words):
        await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config(p4info=p4info))
    with refused(Code.FAILED_PRECONDITION):
        await fresh.read(ANY_TABLE)


@pytest.mark.parametrize("device_config", [b"not JSON", b"{}", b"[]", b"\xff\x00", b'{"header_types": 3}'])
@departs("answers UNKNOWN, or OK")
async def test_a_device_config_that_is_no_bmv2_json_is_refused(fresh: Client, device_config: bytes) -> None:
    with refused(Code.INVALID_ARGUMENT, "p4_device_config"):
        await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config(p4_device_config=device_config))


@departs("has no configuration any more")
async def test_a_config_that_is_refused_leaves_the_old_one_running(fresh: Client) -> None:
    await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config())
    await fresh.modify(entry("keyless", is_default_action=True, action=action("reason", 9)))
    with refused(Code.INVALID_ARGUMENT):
        await fresh.set_config(SetConfig.VERIFY_AND_COMMIT, config(p4_device_config=b"{}"))
    [kept] = await fresh.read(entry("keyless", is_default_action=True))
    assert kept.table_entry.action == action("reason", 9)


async def test_capabilities_name_the_version(fresh: Client) -> None:
    answer = await fresh.stub.Capabilities(p4r.CapabilitiesRequest())
    assert answer.p4runtime_api_version.split(".")[0] == "1"


@departs("ignores the device id")
async def test_capabilities_of_an_unknown_device_are_not_found(fresh: Client) -> None:
    assert await fresh.stub.Capabilities(p4r.CapabilitiesRequest(device_id=DEVICE_ID))
    with refused(Code.NOT_FOUND):
        await fresh.stub.Capabilities(p4r.CapabilitiesRequest(device_id=DEVICE_ID + 1))
