"""The affinity record in its packed form."""

from __future__ import annotations

import pytest

from tlsnodes.persistence.affinity import (
    Affinity,
    AffinityCodec,
    AffinityRefusal,
    digest_of,
    name_digest,
    server_generation,
)

GENERATIONS = {1: 11, 2: 22, 3: 33}
CODEC = AffinityCodec(7, GENERATIONS.get)
NAME = name_digest(b"www.example.test")
PACKED = CODEC.encode(Affinity((2, 1), 1000), NAME)
FOREIGN = AffinityCodec(8, GENERATIONS.get).encode(Affinity((2,), 1000), NAME)


def test_the_packed_form_is_what_is_documented() -> None:
    assert bytes((1, 0, 7, 0, 0, 3, 232)) + NAME + bytes((0, 2, 0, 22, 0, 1, 0, 11)) == PACKED
    assert digest_of(PACKED) == NAME
    assert CODEC.decode(PACKED, NAME, 999.9) == Affinity((2, 1), 1000)


@pytest.mark.parametrize(
    ("packed", "digest", "now_s", "refusal"),
    [
        (b"", NAME, 0.0, AffinityRefusal.MALFORMED),
        (PACKED[:-1], NAME, 0.0, AffinityRefusal.MALFORMED),
        (PACKED[:14], NAME, 0.0, AffinityRefusal.MALFORMED),
        (PACKED + bytes(12), NAME, 0.0, AffinityRefusal.MALFORMED),  # five servers
        (b"\x02" + PACKED[1:], NAME, 0.0, AffinityRefusal.MALFORMED),
        (
            FOREIGN,
            NAME,
            0.0,
            AffinityRefusal.FOREIGN_VSERVER,
        ),
        (PACKED, name_digest(b"other.example.test"), 0.0, AffinityRefusal.FOREIGN_NAME),
        (PACKED, name_digest(b""), 0.0, AffinityRefusal.FOREIGN_NAME),
        (PACKED, NAME, 1000.0, AffinityRefusal.EXPIRED),
    ],
)
def test_what_counts_as_absent_and_why(packed: bytes, digest: bytes, now_s: float, refusal: AffinityRefusal) -> None:
    assert CODEC.decode(packed, digest, now_s) is refusal


def test_an_id_that_was_given_to_another_address_binds_nobody() -> None:
    moved = AffinityCodec(7, {1: 11, 2: 99}.get)
    assert moved.decode(PACKED, NAME, 0.0) == Affinity((1,), 1000)
    assert AffinityCodec(7, lambda _: None).decode(PACKED, NAME, 0.0) == Affinity((), 1000)


def test_servers_that_are_gone_are_not_packed() -> None:
    assert CODEC.decode(CODEC.encode(Affinity((9, 3), 1000), NAME), NAME, 0.0) == Affinity((3,), 1000)


def test_names_differ_in_more_than_case() -> None:
    assert name_digest(b"WWW.Example.test") == NAME


def test_generations_tell_addresses_and_ids_apart() -> None:
    seen = {server_generation(i, host, port) for i in (1, 2) for host in ("10.0.0.1", "10.0.0.2") for port in (80, 81)}
    assert len(seen) == 8
    assert all(0 <= generation < 2**16 for generation in seen)
