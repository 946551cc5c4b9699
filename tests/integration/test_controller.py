"""The controller against the real softswitch over P4Runtime; only the wires to the nodes are virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import finsy as fy
import grpc
import pytest
from finsy.proto import p4r, p4r_grpc

from controller import app
from controller.addresses import probe_mac, vip_mac
from controller.app import run_controller
from controller.core import Announcement, Core
from controller.diff import Operation, Update
from controller.entries import Entry, Key, Kind
from controller.pipeline import load_pipeline
from pentaflow.config import Configuration, HostPort
from pentaflow.errors import ConfigurationError, HostError
from softswitch import switch as softswitch
from support.array_rest import (
    SLOTS_PER_NODE,
    address_of,
    all_up,
    events,
    get,
    has_event,
    make_configuration,
    serving,
)
from support.ports import free_port
from support.virtual_array import (
    CODEC,
    WAIT_S,
    Behaviour,
    VirtualArray,
    eventually,
    given,
    read_back,
    running_controller,
    running_switch,
    status_server,
)


@pytest.fixture
async def array(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualArray]:
    configuration = make_configuration()
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    async with status_server(configuration.nodes[0].management):
        yield array


async def settled(address: str) -> dict[Key, Entry]:
    """What the switch holds once the stations of all nodes are learnt, which answers to probes bring about."""

    async def condition() -> bool:
        return sum(key.kind is Kind.SMAC for key in await read_back(address)) == 3

    await eventually(condition, "all stations")
    return await read_back(address)


async def test_an_empty_switch_gets_everything_and_nodes_come_up(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        entries = await read_back(address)
        view = await get(client, "/vservers/web/buckets")
    buckets = {key.match[1]: entry for key, entry in entries.items() if key.kind is Kind.BUCKET}
    assert [buckets[b].params[0] for b in range(4096)] == view["slots"]
    assert {entry.idle_timeout_ns for entry in buckets.values()} == {90_000_000_000}
    assert sorted(view["node_buckets"].values()) == [1365, 1365, 1366]
    slots = {key.match[0]: entry.params[0] for key, entry in entries.items() if key.kind is Kind.SLOT}
    assert slots == {16 * node + i: node for node in (1, 2, 3) for i in range(SLOTS_PER_NODE)}
    switch, vserver = array.configuration.switches[0], array.configuration.vservers[0]
    assert entries[Key(Kind.ARP, (0, int(vserver.vip)))] == Entry((vip_mac(vserver.vip),))
    assert entries[Key(Kind.ADMIT, (0, vip_mac(vserver.vip)))] == Entry()
    assert entries[Key(Kind.DMAC, (0, probe_mac(switch.probe_addresses[0])))] == Entry((510,))
    assert entries[Key(Kind.MULTICAST_GROUP, (1,))] == Entry((1, 2, 3, 4))
    assert all(array.resets.values()), "a probe's connection is reset, so that nothing lingers at the node"


async def test_a_controller_restart_writes_nothing_and_keeps_the_hash_key(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address):
        async with running_controller(array.configuration) as client:
            await all_up(client)
            first = await settled(address)
        async with running_controller(array.configuration) as client:
            await all_up(client)
            assert [event["updates"] for event in await events(client, "switch_reconciled")] == [0]
            assert await read_back(address) == first


async def test_a_restarted_switch_is_filled_again(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_controller(array.configuration) as client:
        async with running_switch(address):
            await all_up(client)
            first = await settled(address)
        await has_event(client, "switch_lost")
        assert (await client.get("/health")).status_code == 503
        async with running_switch(address):
            await all_up(client)
            assert await read_back(address) == first


async def test_a_switch_that_goes_while_vips_are_announced_costs_its_session_only(
    array: VirtualArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = [Announcement(switch="s1", frames=(bytes(60),))]
    monkeypatch.setattr(Core, "announcements", lambda _core, _now_ns: endless)
    monkeypatch.setattr(app, "ELECTION_INTERVAL_S", 0.003)
    address = address_of(array.configuration)
    async with running_controller(array.configuration) as client:
        for times in range(1, 4):
            async with running_switch(address):
                await all_up(client)
            await has_event(client, "switch_lost", times)


async def test_foreign_entries_go_and_missing_ones_return(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address):
        async with running_controller(array.configuration) as client:
            await all_up(client)
            first = await settled(address)
        pipeline = load_pipeline()
        options = fy.SwitchOptions(p4info=pipeline.p4info_path, p4blob=pipeline.program_path)
        async with fy.Switch("s1", address, options) as stranger:
            await stranger.write(
                [
                    +fy.P4TableEntry(
                        "arp", match=fy.Match(vlan_id=7, target_addr=9), action=fy.Action("arp_reply", mac=1)
                    ),
                    +fy.P4TableEntry("flood", match=fy.Match(vlan_id=7), action=fy.Action("flood_to", group=9)),
                    +fy.P4MulticastGroupEntry(9, replicas=[1]),
                    -fy.P4TableEntry("bucket", match=fy.Match(vserver_id=1, bucket=5)),
                    ~fy.P4TableEntry(
                        "slot", match=fy.Match(slot=17), action=fy.Action("set_node", node_id=1, node_mac=1, port=1)
                    ),
                ]
            )
        async with running_controller(array.configuration) as client:
            await all_up(client)
            assert [event["updates"] for event in await events(client, "switch_reconciled")] == [5]
            after = await read_back(address)
    assert after.keys() == first.keys()
    lost = Key(Kind.BUCKET, (1, 5))
    assert after | {lost: first[lost]} == first


@pytest.mark.parametrize("how", [Behaviour.SILENT, Behaviour.REFUSES])
async def test_a_dead_node_costs_the_writes_of_its_slots(array: VirtualArray, how: Behaviour) -> None:
    address = address_of(array.configuration)
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        before = await serving(client)
        array.behaviour["n2"] = how
        moved = await has_event(client, "slots_moved")
        after = await serving(client)
        assert [(event["node"], event["updates"]) for event in moved] == [("n2", SLOTS_PER_NODE)]
        (down,) = await events(client, "node_down")
        assert down["node"] == "n2"
        assert {old for old, new in zip(before, after, strict=True) if old != new} == {"n2"}
        assert abs(after.count("n1") - after.count("n3")) <= 4096 // 3 // SLOTS_PER_NODE + 1

        async def is_tidy() -> bool:
            entries = await read_back(address)
            slots = {key.match[0]: entry.params[0] for key, entry in entries.items() if key.kind is Kind.SLOT}
            used = {entry.params[0] for key, entry in entries.items() if key.kind is Kind.BUCKET}
            return all(slot // 16 == node for slot, node in slots.items()) and not used & set(range(32, 48))

        await eventually(is_tidy, "buckets and slots at home")
        assert await serving(client) == after, "normalising moves no client"

        array.behaviour["n1"] = how
        moved = await has_event(client, "slots_moved", 2)
        assert [(event["node"], event["updates"]) for event in moved[1:]] == [("n1", SLOTS_PER_NODE)]
        assert set(await serving(client)) == {"n3"}


async def test_buckets_return_to_a_node_that_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = make_configuration(
        buckets=256, idle_timeout_s=1.0, timeouts={"keepalive_s": 0.5, "response_s": 0.5}
    )
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(address_of(configuration)),
        running_controller(configuration) as client,
    ):
        await all_up(client)
        before = sorted((await get(client, "/vservers/web/buckets"))["node_buckets"].values())
        array.behaviour["n3"] = Behaviour.SILENT
        await has_event(client, "slots_moved")
        array.behaviour["n3"] = Behaviour.ANSWERS

        async def balanced() -> bool:
            return sorted((await get(client, "/vservers/web/buckets"))["node_buckets"].values()) == before

        await eventually(balanced, "the node that is back has its share")
        await has_event(client, "buckets_moved")


def ethernet(src_mac: int, dst_mac: int) -> bytes:
    return dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big") + b"\x88\xb5" + bytes(46)


async def test_stations_are_learnt_and_followed_to_another_port(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    station, other = 0x02_00_00_00_00_AA, 0x02_00_00_00_00_BB
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        for port in (1, 2):
            array.inject(port, ethernet(station, other))

            async def is_known(port: int = port) -> bool:
                return (await read_back(address)).get(Key(Kind.DMAC, (0, station))) == Entry((port,))

            await eventually(is_known, f"the station at port {port}")
        entries = await read_back(address)
        assert [key.match[2] for key in entries if key.kind is Kind.SMAC and key.match[1] == station] == [2]
        array.sent.clear()
        array.inject(1, ethernet(other, station))
        assert [port for port, _ in array.sent] == [2], "known: not flooded"


async def test_unknown_names_are_problems_and_known_ones_are_shown(array: VirtualArray) -> None:
    async with running_switch(address_of(array.configuration)), running_controller(array.configuration) as client:
        await all_up(client)
        for path in ("/vservers/wbe", "/vservers/wbe/buckets", "/nodes/n9", "/nothing"):
            response = await client.get(path)
            assert response.status_code == 404
            assert response.headers["content-type"] == "application/problem+json"
            assert path.split("/")[-1] in response.json()["detail"] or "wbe" in response.json()["detail"]
        assert (await client.get("/events?after=x")).status_code == 422
        node = await get(client, "/nodes/n1")
        assert (node["health"], node["status"]["ok"], node["slots"]) == ("up", True, SLOTS_PER_NODE)
        (switch,) = await get(client, "/switches")
        assert (switch["state"], switch["error"]) == ("ready", "")
        (vserver,) = await get(client, "/vservers")
        assert vserver == await get(client, "/vservers/web")
        assert "hash_key" not in vserver
        last = (await get(client, "/events"))[-1]["id"]
        assert await get(client, f"/events?after={last}") == []


async def test_a_taken_rest_port_is_said_and_nothing_is_started() -> None:
    configuration = make_configuration()
    async with status_server(configuration.controller.rest):
        with pytest.raises(
            HostError, match=r"controller\.rest 127\.0\.0\.1:\d+: cannot listen: Address already in use$"
        ):
            await asyncio.wait_for(run_controller(given(configuration)), 5)


async def test_more_buckets_than_the_table_holds_are_refused() -> None:
    configuration = make_configuration(buckets=65_536)
    vservers = tuple(
        configuration.vservers[0].model_copy(update={"name": f"v{i}", "id": i, "port": i}) for i in range(1, 6)
    )
    with pytest.raises(ConfigurationError, match="327680 entries are needed in table bucket, which holds 262144"):
        await run_controller(given(configuration.model_copy(update={"vservers": vservers})))


async def delete_behind_the_controllers_back(configuration: Configuration, *keys: Key) -> None:
    """Write with the controller's own election id, which is all that a P4Runtime server asks for."""
    updates = [CODEC.encode_update(Update(Operation.DELETE, key, None)) for key in keys]
    async with fy.Switch("s1", address_of(configuration), fy.SwitchOptions(initial_election_id=1)) as backup:
        primary_id = backup.primary_id
    election_id = p4r.Uint128(high=primary_id >> 64, low=primary_id & (1 << 64) - 1)
    async with grpc.aio.insecure_channel(address_of(configuration)) as channel:
        request = p4r.WriteRequest(device_id=1, election_id=election_id, updates=updates)
        await p4r_grpc.P4RuntimeStub(channel).Write(request, timeout=WAIT_S)


async def test_a_failed_write_leads_to_reading_back_and_a_whole_switch(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        before = await settled(address)
        await delete_behind_the_controllers_back(array.configuration, Key(Kind.SLOT, (20,)), Key(Kind.BUCKET, (1, 9)))
        array.behaviour["n1"] = Behaviour.SILENT
        reconciled = await has_event(client, "switch_reconciled", 2)
        assert 2 <= reconciled[1]["updates"] <= SLOTS_PER_NODE + 2
        assert (await read_back(address)).keys() == before.keys()
        assert set(await serving(client)) == {"n2", "n3"}
        (switch,) = await get(client, "/switches")
        assert (switch["state"], switch["error"]) == ("ready", "")


async def test_another_primary_is_respected_and_its_changes_are_undone_when_it_leaves(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    pipeline = load_pipeline()
    above = 1 << 127
    options = fy.SwitchOptions(p4info=pipeline.p4info_path, p4blob=pipeline.program_path, initial_election_id=above)
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        before = await settled(address)
        async with fy.Switch("s1", address, options) as stranger:
            assert stranger.is_primary

            async def is_backup() -> bool:
                return bool((await get(client, "/switches"))[0]["state"] == "backup")

            await eventually(is_backup, "the session to stand back")
            await stranger.write([-fy.P4TableEntry("bucket", match=fy.Match(vserver_id=1, bucket=9))])
        await has_event(client, "switch_reconciled", 2)
        await all_up(client)
        assert await read_back(address) == before


async def test_a_switch_that_refuses_the_pipeline_is_said_to(
    array: VirtualArray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = load_pipeline()
    program = json.loads(pipeline.program_path.read_text())
    program["actions"][0]["primitives"] = [{"op": "teleport", "parameters": []}]
    (tmp_path / "odd.json").write_text(json.dumps(program))
    monkeypatch.setattr(app, "load_pipeline", lambda: replace(pipeline, program_path=tmp_path / "odd.json"))
    async with running_switch(address_of(array.configuration)), running_controller(array.configuration) as client:

        async def is_said() -> bool:
            return "refused" in (await get(client, "/switches"))[0]["error"]

        await eventually(is_said, "the refusal")
        assert (await client.get("/health")).status_code == 503


async def test_a_new_session_wins_over_one_that_the_switch_still_holds(array: VirtualArray) -> None:
    """As after a broken network: the switch has not noticed yet that the old session is gone."""
    old = array.configuration
    elsewhere = old.controller.model_copy(update={"rest": HostPort(host="127.0.0.1", port=free_port())})
    new = old.model_copy(update={"controller": elsewhere})
    async with running_switch(address_of(old)), running_controller(old) as old_client:
        await all_up(old_client)
        async with running_controller(new) as new_client:
            await all_up(new_client)
            assert [event["updates"] for event in await events(new_client, "switch_reconciled")] == [0]

            async def has_lost() -> bool:
                return bool((await get(old_client, "/switches"))[0]["state"] == "backup")

            await eventually(has_lost, "the old session to stand back")
            assert (await get(new_client, "/switches"))[0]["state"] == "ready"
