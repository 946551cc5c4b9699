"""What may not be changed while the array runs."""

from __future__ import annotations

from typing import Any

import pytest

from controller.changeover import check_changeover
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from support.configurations import direct_document, small_document


def changed(**of_vserver: Any) -> Configuration:
    document = small_document()
    document["vservers"][0] |= of_vserver
    return Configuration.model_validate(document)


def nothing(_vserver_id: int) -> dict[int, int]:
    return {}


def test_what_keeps_buckets_where_they_are_is_allowed() -> None:
    before = changed()
    check_changeover(before, before, {1: 9, 2: 9}, nothing)
    check_changeover(before, changed(name="other", port=8443, idle_timeout_s=77), {1: 9}, nothing)
    check_changeover(before, changed(id=7, buckets=512), {1: 9}, nothing)
    check_changeover(before, before.model_copy(update={"vservers": ()}), {1: 9}, nothing)
    check_changeover(before, before.model_copy(update={"nodes": before.nodes[1:]}), {1: 0, 2: 9}, nothing)


@pytest.mark.parametrize(("name", "value"), [("buckets", 512), ("hash", "5tuple"), ("hash_key", "0" * 15 + "1")])
def test_the_bucket_function_of_a_vserver_is_fixed(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="give web another id") as raised:
        check_changeover(changed(), changed(**{name: value}), {}, nothing)
    assert raised.value.place == f"vservers[0].{name}"


def test_a_node_that_serves_and_the_number_of_slots_stay() -> None:
    before = changed()
    with pytest.raises(ConfigurationError, match="node n1 still serves 9 buckets: drain it"):
        check_changeover(before, before.model_copy(update={"nodes": before.nodes[1:]}), {1: 9}, nothing)
    controller = before.controller.model_copy(update={"slots_per_node": 8})
    with pytest.raises(ConfigurationError, match="while the array runs"):
        check_changeover(before, before.model_copy(update={"controller": controller}), {}, nothing)


def direct(nodes: list[str], **of_plain: Any) -> Configuration:
    document = direct_document()
    document["vservers"][1] |= {"nodes": nodes} | of_plain
    document["vservers"][2]["nodes"] = nodes
    return Configuration.model_validate(document)


def test_a_direct_node_leaves_a_vserver_only_when_it_is_drained() -> None:
    before, after = direct(["d1", "d2"]), direct(["d2", "d3"])
    check_changeover(before, after, {11: 9}, lambda _vserver_id: {12: 9})
    with pytest.raises(ConfigurationError, match="node d1 still serves 9 buckets of plain: drain it") as raised:
        check_changeover(before, after, {}, lambda vserver_id: {11: 9} if vserver_id == 2 else {})
    assert raised.value.place == "vservers[1].nodes"


def test_what_a_vserver_speaks_is_fixed() -> None:
    with pytest.raises(ConfigurationError, match="give plain another id") as raised:
        check_changeover(direct(["d1"]), direct(["d1"], protocol="udp"), {}, nothing)
    assert raised.value.place == "vservers[1].protocol"
