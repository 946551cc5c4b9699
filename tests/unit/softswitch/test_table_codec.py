"""Decoding actions: what was decoded before is known again, and only where it holds."""

from __future__ import annotations

import pytest

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.p4info import ActionInfo, MatchFieldInfo, ParamInfo, Scope, TableInfo
from softswitch.p4runtime.status import Code, RequestError
from softswitch.p4runtime.table_codec import KNOWN_ACTIONS, TableCodec
from softswitch.tables import Entry, Field, MatchKind, Table

SEND, DROP = 1, 2


@pytest.fixture
def codec() -> TableCodec:
    send = ActionInfo(id=SEND, name="send", params=(ParamInfo(id=1, name="port", width=16),))
    drop = ActionInfo(id=DROP, name="drop", params=())
    info = TableInfo(
        id=7,
        name="t",
        fields=(MatchFieldInfo(id=1, name="a", width=8, kind=MatchKind.EXACT),),
        actions={SEND: send, DROP: drop},
        scopes={SEND: Scope.TABLE_ONLY, DROP: Scope.DEFAULT_ONLY},
        const_default=False,
        is_const=False,
        size=8,
        has_counter=False,
        supports_idle_timeout=False,
    )
    table = Table(
        name="t",
        fields=(Field(name="a", width=8, kind=MatchKind.EXACT),),
        actions={"send": (16,), "drop": ()},
        size=8,
        default=Entry(match=(), action="drop", params=()),
    )
    return TableCodec(info, table)


def action(action_id: int, *values: bytes) -> p4r.TableAction:
    params = [p4r.Action.Param(param_id=at, value=value) for at, value in enumerate(values, start=1)]
    return p4r.TableAction(action=p4r.Action(action_id=action_id, params=params))


def test_more_actions_than_are_remembered_are_decoded_all_the_same(codec: TableCodec) -> None:
    for _ in range(2):
        for port in range(KNOWN_ACTIONS + 2):
            decoded = codec.decode_action(action(SEND, port.to_bytes(2, "big")), as_default=False)
            assert decoded == ("send", (port,))


def test_an_action_of_an_entry_is_not_taken_for_one_of_the_default_entry(codec: TableCodec) -> None:
    for _ in range(2):
        assert codec.decode_action(action(SEND, b"\5"), as_default=False) == ("send", (5,))
        with pytest.raises(RequestError) as refused:
            codec.decode_action(action(SEND, b"\5"), as_default=True)
        assert refused.value.code is Code.PERMISSION_DENIED
        assert codec.decode_action(action(DROP), as_default=True) == ("drop", ())
        with pytest.raises(RequestError) as refused:
            codec.decode_action(action(DROP), as_default=False)
        assert refused.value.code is Code.PERMISSION_DENIED


def test_a_refused_action_is_refused_again(codec: TableCodec) -> None:
    for _ in range(2):
        with pytest.raises(RequestError) as refused:
            codec.decode_action(action(SEND, b"\1\0\0"), as_default=False)
        assert refused.value.code is Code.OUT_OF_RANGE
    assert codec.decode_action(action(SEND, b"\0\1\0"), as_default=False) == ("send", (256,))


@pytest.mark.parametrize(
    ("match", "code"),
    [
        (p4r.FieldMatch(field_id=1, exact=p4r.FieldMatch.Exact(value=b"\0\xff")), None),
        (p4r.FieldMatch(field_id=1, exact=p4r.FieldMatch.Exact(value=b"\1\0")), Code.OUT_OF_RANGE),
        (p4r.FieldMatch(field_id=1, exact=p4r.FieldMatch.Exact()), Code.OUT_OF_RANGE),
        (p4r.FieldMatch(field_id=1, optional=p4r.FieldMatch.Optional(value=b"\1")), Code.INVALID_ARGUMENT),
        (p4r.FieldMatch(field_id=1), Code.INVALID_ARGUMENT),
    ],
)
def test_an_exact_field_takes_a_value_that_fits(codec: TableCodec, match: p4r.FieldMatch, code: Code | None) -> None:
    message = p4r.TableEntry(match=[match])
    if code is None:
        assert codec.decode_match(message) == (255,)
    else:
        with pytest.raises(RequestError) as refused:
            codec.decode_match(message)
        assert refused.value.code is code
