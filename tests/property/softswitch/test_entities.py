"""Read-write symmetry, and no crash, for whatever a client may send (P4Runtime 1.5, "Read-Write Symmetry")."""

from __future__ import annotations

import contextlib

from finsy.proto import p4r
from hypothesis import given
from hypothesis import strategies as st

from softswitch.p4runtime.forwarding import Forwarding
from softswitch.p4runtime.status import RequestError
from support.p4rt import P4INFO, action, between, config, entry, exact, lpm, optional, ternary

INSERT, MODIFY, DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE

ports = st.builds(lambda port: action("forward", port), st.integers(0, 511))
words = st.integers(0, 0xFFFF)


@st.composite
def ternary_entries(draw: st.DrawFn) -> p4r.Entity:
    match = []
    for field_id, width in ((1, 16), (2, 48)):
        mask = draw(st.integers(0, (1 << width) - 1))
        if mask:
            match.append(ternary(field_id, draw(st.integers(0, (1 << width) - 1)) & mask, mask))
    return entry("ternary_two", *match, priority=draw(st.integers(1, 5)), action=draw(ports))


@st.composite
def lpm_entries(draw: st.DrawFn) -> p4r.Entity:
    length = draw(st.integers(0, 128))
    value = draw(st.integers(0, (1 << length) - 1)) << 128 - length
    return entry("longest", *([lpm(1, value, length)] if length else []), action=draw(ports))


@st.composite
def mixed_entries(draw: st.DrawFn) -> p4r.Entity:
    low, high = sorted((draw(words), draw(words)))
    match = [exact(3, draw(st.integers(0, 1)))]
    if (low, high) != (0, 0xFFFF):
        match.append(between(1, low, high))
    if draw(st.booleans()):
        match.append(optional(2, draw(st.integers(0, 511))))
    match.sort(key=lambda field: field.field_id)
    return entry("mixed", *match, priority=draw(st.integers(1, 5)), action=draw(ports))


@st.composite
def exact_entries(draw: st.DrawFn) -> p4r.Entity:
    return entry(
        "exact_one",
        exact(1, draw(st.integers(0, (1 << 48) - 1))),
        action=draw(ports),
        idle_timeout_ns=draw(st.integers(0, 1 << 62)),
        metadata=draw(st.binary(max_size=8)),
    )


entries = st.one_of(ternary_entries(), lpm_entries(), mixed_entries(), exact_entries())


def key_of(entity: p4r.Entity) -> bytes:
    """The fields that identify an entry."""
    message = entity.table_entry
    key = p4r.TableEntry(table_id=message.table_id, match=message.match, priority=message.priority)
    return key.SerializeToString(deterministic=True)


# One for all examples: compiling a pipeline takes a while. The first test cleans up, the second leaves what it wrote.
FORWARDING = Forwarding(config())
DIRTY = Forwarding(config())


@given(st.lists(st.tuples(st.sampled_from((INSERT, MODIFY, DELETE)), entries), max_size=30))
def test_tables_behave_like_a_dictionary_of_messages(
    updates: list[tuple[p4r.Update.Type.ValueType, p4r.Entity]],
) -> None:
    model: dict[bytes, p4r.Entity] = {}
    try:
        for kind, entity in updates:
            key = key_of(entity)
            is_right = (key not in model) if kind == INSERT else (key in model)
            try:
                FORWARDING.write(p4r.Update(type=kind, entity=entity), 0)
            except RequestError:
                assert not is_right
                continue
            assert is_right
            if kind == DELETE:
                del model[key]
            else:
                model[key] = entity
        everything = FORWARDING.read(p4r.Entity(table_entry=p4r.TableEntry()), 0)
        read = {key_of(entity): entity for entity in everything if not entity.table_entry.is_const}
        assert read == model
    finally:
        for entity in model.values():
            FORWARDING.write(p4r.Update(type=DELETE, entity=entity), 0)


IDS = [0, 7, *(table.preamble.id for table in P4INFO.tables)]
short = st.binary(max_size=3)
numbers = st.integers(-2, 5)
field_matches = st.one_of(
    st.builds(lambda i, v: p4r.FieldMatch(field_id=i, exact=p4r.FieldMatch.Exact(value=v)), st.integers(0, 4), short),
    st.builds(
        lambda i, v, n: p4r.FieldMatch(field_id=i, lpm=p4r.FieldMatch.LPM(value=v, prefix_len=n)),
        st.integers(0, 4),
        short,
        st.integers(-1, 130),
    ),
    st.builds(
        lambda i, v, m: p4r.FieldMatch(field_id=i, ternary=p4r.FieldMatch.Ternary(value=v, mask=m)),
        st.integers(0, 4),
        short,
        short,
    ),
    st.builds(lambda i: p4r.FieldMatch(field_id=i), st.integers(0, 4)),
)
actions = st.one_of(
    st.none(),
    st.builds(lambda port: action("forward", port), short),
    st.just(action("drop")),
    st.builds(lambda number: p4r.TableAction(action_profile_member_id=number), st.integers(0, 2)),
)
table_entries = st.builds(
    p4r.TableEntry,
    table_id=st.sampled_from(IDS),
    match=st.lists(field_matches, max_size=3),
    action=actions,
    priority=numbers,
    is_default_action=st.booleans(),
    idle_timeout_ns=numbers,
    counter_data=st.one_of(st.none(), st.builds(p4r.CounterData, packet_count=numbers)),
)
indices = st.one_of(st.none(), st.builds(p4r.Index, index=numbers))
replication = st.builds(
    lambda group, ports, instance: p4r.PacketReplicationEngineEntry(
        multicast_group_entry=p4r.MulticastGroupEntry(
            multicast_group_id=group, replicas=[p4r.Replica(port=port, instance=instance) for port in ports]
        )
    ),
    st.integers(0, 1 << 17),
    st.lists(short, max_size=3),
    st.integers(0, 1 << 17),
)
anything = st.one_of(
    st.builds(lambda message: p4r.Entity(table_entry=message), table_entries),
    st.builds(
        lambda message: p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=message)), table_entries
    ),
    st.builds(
        lambda number, index: p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=number, index=index)),
        st.sampled_from((0, 1, P4INFO.counters[0].preamble.id)),
        indices,
    ),
    st.builds(
        lambda number, index: p4r.Entity(register_entry=p4r.RegisterEntry(register_id=number, index=index)),
        st.sampled_from((0, 1, P4INFO.registers[0].preamble.id)),
        indices,
    ),
    st.builds(p4r.Entity),
    st.builds(lambda message: p4r.Entity(packet_replication_engine_entry=message), replication),
)


@given(st.sampled_from((0, INSERT, MODIFY, DELETE, 9)), anything)
def test_nonsense_is_refused_and_never_crashes(kind: int, entity: p4r.Entity) -> None:
    update = p4r.Update(entity=entity)
    update.type = kind  # type: ignore[assignment]  # an open enum: proto3 lets any number through
    with contextlib.suppress(RequestError):
        DIRTY.write(update, 0)
    with contextlib.suppress(RequestError):
        list(DIRTY.read(entity, 0))
