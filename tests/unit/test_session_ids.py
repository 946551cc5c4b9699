"""Groups of session ids as they are written, tables, records and reports [P6]."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pentaflow.session_ids import (
    GroupKind,
    KeyRange,
    SessionIdRecord,
    SessionIdReport,
    SessionIdTable,
    read_group,
    write_group,
)

RANGES = (KeyRange(0x0A00, 0x0AFF), KeyRange(0x0B00, 0x0B02))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (GroupKind.RANGE, "0a00-0b02"),
        (GroupKind.PREFIX, "0a00/8,0b00/15,0b02/16"),
        (GroupKind.LIST, ",".join(f"{key:04x}" for key in range(0x0A00, 0x0B03))),
    ],
)
def test_a_group_is_written_in_three_ways(kind: GroupKind, text: str) -> None:
    assert write_group(RANGES, kind) == text
    assert write_group(read_group(text), GroupKind.RANGE) == "0a00-0b02"


def test_all_keys_are_one_prefix() -> None:
    assert write_group([KeyRange(0, 0xFFFF)], GroupKind.PREFIX) == "0000/0"
    assert read_group("0000/0") == (KeyRange(0, 0xFFFF),)
    assert read_group("") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0a0", "neither a key like 0a17 nor a range"),
        ("0A00", "neither a key"),
        ("0a00-", "neither a key"),
        ("0a00,", "neither a key"),
        ("0aff-0a00", "ends before it begins"),
        ("0a01/8", "is no prefix"),
        ("0a00/17", "is no prefix"),
        ("0a00-0aff,0a00/8", "key 0a00 is in it twice"),
    ],
)
def test_what_is_no_group_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_group(text)


TABLE = SessionIdTable.model_validate_json(
    """{"schema_version": 1, "vserver": "www", "version": 7, "default_server": 9,
        "groups": [{"keys": "0000/2,8000-8fff", "servers": [1, 2]}, {"keys": "4000/2", "servers": [3]}],
        "exceptions": [{"session_id": "4000ff", "server": 1}]}"""
)


@pytest.mark.parametrize(
    ("session_id", "servers", "why"),
    [
        ("0000ff", (1, 2), "the first key of a prefix"),
        ("3fffff", (1, 2), "the last one"),
        ("8fff", (1, 2), "no more than a key"),
        ("4000ee", (3,), "another group"),
        ("4000ff", (1,), "an exception"),
        ("9000ff", (), "nobody's: the default server"),
        ("40", (), "too short for a key: the default server"),
    ],
)
def test_find(session_id: str, servers: tuple[int, ...], why: str) -> None:
    assert TABLE.holders(bytes.fromhex(session_id)) == servers, why
    assert TABLE.find(bytes.fromhex(session_id)) == (servers[0] if servers else 9)


def test_without_an_id_nobody_is_found() -> None:
    assert TABLE.find(b"") is None


def test_without_a_default_server_nobody_is_found() -> None:
    assert TABLE.model_validate({**TABLE.model_dump(), "default_server": None}).find(b"\xff" * 32) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema_version": 2}, "schema_version"),
        (
            {"groups": [{"keys": "0000-0010", "servers": [1]}, {"keys": "0010", "servers": [2]}]},
            "key 0010 is in it twice",
        ),
        ({"groups": [{"keys": "0000", "servers": []}]}, "at least 1 item"),
        ({"exceptions": [{"session_id": "00" * 33, "server": 1}]}, "session_id"),
        ({"wrong": 1}, "wrong"),
    ],
)
def test_what_is_no_table_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SessionIdTable.model_validate({**TABLE.model_dump(), **change})


RECORD = SessionIdRecord(
    vserver="www", server=1, version=7, issues="0a00-0aff,0c00", lifetime_s=300, issue_until_s=1000
)


@pytest.mark.parametrize(("choice", "key"), [(0, "0a00"), (255, "0aff"), (256, "0c00"), (257, "0a00")])
def test_each_key_is_as_likely_as_the_others(choice: int, key: str) -> None:
    made = RECORD.make_id(choice.to_bytes(8, "big") + bytes(range(32)), 999)
    assert made == bytes.fromhex(key) + bytes(range(2, 32))


def test_nothing_is_issued_after_the_lease_or_without_keys() -> None:
    assert RECORD.make_id(bytes(40), 1000) is None
    assert RECORD.model_validate({**RECORD.model_dump(), "issues": ""}).make_id(bytes(40), 0) is None


def test_a_report_with_a_key_in_two_groups_is_refused() -> None:
    groups = [{"keys": "0a00/8", "last_expiry_s": 0}, {"keys": "0a10", "last_expiry_s": 0}]
    with pytest.raises(ValidationError, match="key 0a10 is in it twice"):
        SessionIdReport.model_validate({"version": 1, "groups": groups})
