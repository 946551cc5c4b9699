"""Entries as P4Runtime messages, against finsy's own codec."""

from __future__ import annotations

import finsy as fy
import pytest
from finsy.p4entity import decode_entity

from controller.codec import Codec
from controller.diff import Operation, Update
from controller.entries import SPLIT_SLOT, TABLES, Entry, Key, Kind
from controller.pipeline import load_pipeline
from pentaflow.p4runtime import p4r

PIPELINE = load_pipeline()
CODEC = Codec(PIPELINE.p4info)
SCHEMA = fy.P4Schema(PIPELINE.p4info_path, PIPELINE.program_path)

ENTRIES = {
    Key(Kind.SLOT, (65_535,)): Entry((4095, 0x020000000101, 510)),
    Key(Kind.BUCKET, (1, 0)): Entry((256,), 90_000_000_000),
    Key(Kind.VSERVER, (0x0A000064, 6, 443)): Entry((1, 4095, 1, 1 << 63, 61)),
    Key(Kind.VSERVER_V6, (0x2001_0DB8 << 96 | 0x64, 6, 443)): Entry((1, 4095, 1, 1 << 63, 61)),
    Key(Kind.ND, (0, 0x2001_0DB8 << 96 | 0x64)): Entry((0x0250_0A00_0064,)),
    Key(Kind.ARP, (0, 0x0A000064)): Entry((0x02500A000064,)),
    Key(Kind.ADMIT, (0, 0x02500A000064)): Entry(),
    Key(Kind.FLOOD, (4094,)): Entry((7,)),
    Key(Kind.SMAC, (0, 1, 511)): Entry((), 1),
    Key(Kind.DMAC, (5, 1)): Entry((0,)),
}


@pytest.mark.parametrize("key", ENTRIES, ids=lambda key: key.kind)
def test_finsy_reads_the_same(key: Key) -> None:
    spec, entry = TABLES[key.kind], ENTRIES[key]
    read = decode_entity(CODEC.encode_entity(key, entry), SCHEMA)
    assert read.table_id == key.kind
    assert tuple(read.match[name] for name in spec.fields) == key.match
    assert read.action.name == spec.action
    assert tuple(read.action.args[name] for name in spec.params) == entry.params
    assert read.idle_timeout_ns == entry.idle_timeout_ns
    assert fy.P4TableEntry.encode(read, SCHEMA) == CODEC.encode_entity(key, entry), "canonical"


def test_a_split_bucket_is_not_taken_for_another() -> None:
    key, split = Key(Kind.BUCKET, (1, 0)), Entry((256, 0, 90_000), 5, SPLIT_SLOT)
    entity = CODEC.encode_entity(key, split)
    read = decode_entity(entity, SCHEMA)
    assert (read.action.name, read.action.args) == (SPLIT_SLOT, {"new_slot": 256, "old_slot": 0, "window": 90_000})
    assert fy.P4TableEntry.encode(read, SCHEMA) == entity, "canonical"
    assert list(CODEC.decode_entities([entity])) == [(key, split)]


def test_everything_comes_back_as_it_went() -> None:
    others = {Key(Kind.MULTICAST_GROUP, (1,)): Entry((1, 2, 300)), Key(Kind.DIGEST, ()): Entry((10, 20, 30))}
    everything = ENTRIES | others
    assert dict(CODEC.decode_entities(CODEC.encode_entity(*item) for item in everything.items())) == everything


def test_replicas_may_name_their_port_as_bytes() -> None:
    group = p4r.MulticastGroupEntry(multicast_group_id=3, replicas=[p4r.Replica(port=b"\x01\x02")])
    entity = p4r.Entity(packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(multicast_group_entry=group))
    assert list(CODEC.decode_entities([entity])) == [(Key(Kind.MULTICAST_GROUP, (3,)), Entry((258,)))]


def test_a_delete_carries_the_key_only() -> None:
    key = Key(Kind.BUCKET, (1, 0))
    update = CODEC.encode_update(Update(Operation.DELETE, key, None))
    assert update.type == p4r.Update.DELETE
    assert not update.entity.table_entry.HasField("action")
    assert [field.exact.value for field in update.entity.table_entry.match] == [b"\x01", b"\x00"]
