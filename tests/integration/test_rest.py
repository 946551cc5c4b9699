"""The REST API of a real controller on a virtual array: objects, configuration, intents, plans, access, audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from controller.api.access import Role, make_token
from pentaflow.config import Configuration
from support.array_rest import address_of, all_up, get, make_configuration
from support.ports import free_port
from support.virtual_array import VirtualArray, eventually, running_controller, running_switch, status_server

JSON = "application/json"
YAML = {"Content-Type": "application/yaml"}


@asynccontextmanager
async def running_array(
    monkeypatch: pytest.MonkeyPatch, *, configuration: Configuration | None = None, up: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    configuration = configuration or make_configuration(buckets=256)
    array = VirtualArray(configuration)
    monkeypatch.setattr("softswitch.switch.Ports", array.ports)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(status_server(configuration.nodes[0].management))
        await stack.enter_async_context(running_switch(address_of(configuration)))
        client = await stack.enter_async_context(running_controller(configuration))
        if up:
            await all_up(client)
        yield client


async def configuration_of(client: httpx.AsyncClient) -> tuple[dict[str, Any], str]:
    response = await client.get("/configuration")
    assert response.status_code == 200
    document: dict[str, Any] = yaml.safe_load(response.text)
    return document, response.headers["ETag"]


async def push(client: httpx.AsyncClient, document: Any, etag: str = "*", **query: Any) -> httpx.Response:
    text = document if isinstance(document, str) else json.dumps(document)
    return await client.put("/configuration", content=text, params=query, headers=YAML | {"If-Match": etag})


def assert_problem(response: httpx.Response, status: int, detail: str, path: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert path is None or problem["path"] == path


async def test_objects_are_listed_by_name_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        whole = await client.get("/nodes")
        assert [node["name"] for node in whole.json()] == ["n1", "n2", "n3"]
        assert "Link" not in whole.headers
        first = await client.get("/nodes", params={"limit": 2})
        assert [node["name"] for node in first.json()] == ["n1", "n2"]
        rest = await client.get(first.links["next"]["url"])
        assert [node["name"] for node in rest.json()] == ["n3"]
        for path in ("/switches/s1", "/nodes/n1", "/vservers/web", "/pools/servers"):
            found = await client.get(path)
            assert found.status_code == 200, path
            assert found.headers["ETag"] == '"1"'
        assert_problem(await client.get("/nodes/n9"), 404, "there is no node 'n9'; there is 'n1'")
        assert_problem(await client.get("/nothing"), 404, "there is nothing at /nothing")
        assert_problem(await client.get("/nodes?limit=0"), 422, "greater than or equal to 1", "limit")


async def test_a_pushed_configuration_is_in_force_and_a_broken_one_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_array(monkeypatch) as client:
        document, etag = await configuration_of(client)
        document["nodes"][0]["weight"] = 3
        done = await push(client, document, etag, comment="more for n1")
        assert (done.status_code, done.json()["version"], done.headers["ETag"]) == (200, 2, '"2"')
        assert (await get(client, "/nodes/n1"))["weight"] == 3
        assert_problem(await push(client, document, etag), 412, 'made for "1"', "If-Match")
        assert (await client.put("/configuration", content="x", headers=YAML)).status_code == 428
        broken = document | {"nodes": [document["nodes"][0] | {"wieght": 1}]}
        assert_problem(
            await push(client, broken), 422, "unknown key; did you mean 'weight'?", "configuration:1: nodes[0].wieght"
        )
        assert_problem(await push(client, "nodes: ["), 422, "not YAML")
        assert_problem(
            await push(client, document | {"nodes": document["nodes"][1:]}), 422, "node n1 still serves", "nodes"
        )
        unread = {"health": document["controller"]["health"] | {"management": {"protocol": "https", "ca": "gone.pem"}}}
        blind = document | {"controller": document["controller"] | unread}
        assert_problem(await push(client, blind), 422, "gone.pem", "controller.health.management.ca")
        smaller = document | {"vservers": [document["vservers"][0] | {"buckets": 512}]}
        assert_problem(await push(client, smaller), 422, "is fixed when a vserver is made", "vservers[0].buckets")
        checked = await push(client, document | {"pools": document["pools"] * 1}, dry_run=True)
        assert checked.json()["version"] == 2
        assert (await configuration_of(client))[1] == '"2"'
        versions = await get(client, "/configuration/versions")
        assert [(v["version"], v["in_force"], v["comment"]) for v in versions] == [
            (2, True, "more for n1"),
            (1, False, "the first controller's file"),
        ]
        back = await client.post("/configuration/rollback", json={})
        assert back.json()["version"] == 1
        assert (await get(client, "/nodes/n1"))["weight"] == 1
        assert_problem(await client.post("/configuration/rollback", json={"version": 77}), 404, "no version 77")
        document["nodes"][0]["weight"] = 7
        assert (await push(client, document)).json()["version"] == 3
        undone = await client.post("/configuration/rollback", json={})
        assert undone.json()["version"] == 1, "what was in force before, not the next lower number"


async def test_vservers_and_nodes_come_and_go_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        document, _ = await configuration_of(client)
        second = document["vservers"][0] | {"name": "mail", "id": 2, "vip": "10.0.0.101", "port": 993}
        made = await client.put("/vservers/mail", json=second, headers={"If-Match": "*"})
        assert made.status_code == 200, made.text

        async def is_spread() -> bool:
            shares = (await get(client, "/vservers/mail"))["node_buckets"]
            ready = (await get(client, "/health"))["ready"]
            return bool(ready) and max(shares.values()) - min(shares.values()) <= 1 and sum(shares.values()) == 256

        await eventually(is_spread, "the new vserver's buckets are spread")
        await all_up(client)
        assert (await client.get("/vservers/mail/buckets")).status_code == 200
        gone = await client.delete("/vservers/mail", headers={"If-Match": "*"})
        assert gone.status_code == 200
        assert_problem(await client.get("/vservers/mail"), 404, "no vserver 'mail'")
        assert_problem(await client.delete("/vservers/mail", headers={"If-Match": "*"}), 404, "no vserver")
        assert_problem(
            await client.put("/nodes/n1", json={"name": "n2"}, headers={"If-Match": "*"}), 422, "not 'n1'", "name"
        )


async def test_a_switch_that_is_to_be_reached_elsewhere_is_lost_until_it_answers_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_array(monkeypatch) as client:
        document, _ = await configuration_of(client)
        document["switches"][0]["grpc"] = f"127.0.0.1:{free_port()}"
        assert (await push(client, document)).status_code == 200
        assert (await client.get("/health")).status_code == 503
        assert [alarm["kind"] for alarm in await get(client, "/alarms")] == ["switch_lost"]
        assert (await client.post("/configuration/rollback", json={})).status_code == 200
        await all_up(client)
        assert await get(client, "/alarms") == []


async def test_a_drain_empties_a_node_and_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        answer = await client.put("/nodes/n2/intent", json={"state": "draining", "deadline_s": 30, "reason": "disk"})
        assert (answer.status_code, answer.json()["state"]) == (200, "draining")

        async def is_empty() -> bool:
            drains = await get(client, "/drains")
            row = next((d for d in drains["nodes"] if d["node"] == "n2"), None)
            return row is not None and row["drained"]

        await eventually(is_empty, "n2 is drained")
        assert (await get(client, "/nodes/n2"))["buckets"] == 0
        assert (await client.put("/nodes/n2/intent", json={"state": "asleep"})).status_code == 422
        assert_problem(await client.put("/nodes/n7/intent", json={"state": "draining"}), 404, "no node 'n7'")
        stale = await client.delete("/nodes/n2/intent", headers={"If-Match": '"active-0"'})
        assert_problem(stale, 412, "the intent of node n2")
        cleared = await client.delete("/nodes/n2/intent")
        assert cleared.json()["state"] == "active"


async def test_a_plan_shows_what_would_move_and_is_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        made = await client.post("/plans", json={"intents": {"n3": "draining"}})
        assert made.status_code == 201, made.text
        plan = made.json()
        assert plan["buckets"] == plan["nodes_before"]["n3"] == 85
        assert plan["nodes_after"]["n3"] == 0
        assert plan["connections_at_risk"] == 0
        assert await get(client, made.headers["Location"]) == plan
        moves = await get(client, f"/plans/{plan['id']}/moves?limit=10")
        assert len(moves) == 10
        assert {move["from_node"] for move in moves} == {"n3"}
        assert (await get(client, "/nodes/n3"))["intent"]["state"] == "active", "nothing is changed by a plan"
        applied = await client.post(f"/plans/{plan['id']}/apply")
        assert applied.status_code == 200, applied.text
        assert (await get(client, "/nodes/n3"))["intent"]["state"] == "draining"
        assert_problem(await client.post(f"/plans/{plan['id']}/apply"), 404, "there is no plan")
        assert_problem(await client.post("/plans", json={"weights": {"n33": 2}}), 422, "did you mean", "weights.n33")
        assert_problem(await client.post("/plans", json={"intents": {"n33": "active"}}), 422, "no node", "intents.n33")
        stale = (await client.post("/plans", json={"weights": {"n1": 5}})).json()
        document, _ = await configuration_of(client)
        assert (await push(client, document | {"controller": document["controller"] | {"lease_s": 6}})).is_success
        assert_problem(await client.post(f"/plans/{stale['id']}/apply"), 409, "configuration 1, 2 is in force")


async def test_a_client_is_explained_and_the_tables_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        why = await get(client, "/explain?vserver=web&client=10.0.0.7:4711")
        table = await get(client, f"/tables/buckets?vserver=web&after={why['bucket'] - 1}&limit=1")
        assert [(row["bucket"], row["slot"], row["node"]) for row in table] == [
            (why["bucket"], why["slot"], why["node"])
        ]
        assert table[0]["last_access_s"] is not None
        assert len(await get(client, "/tables/buckets?vserver=web")) == 256
        assert {row["node"] for row in await get(client, "/tables/nodes")} == {"n1", "n2", "n3"}
        summary = await get(client, "/tables/summary")
        assert (summary["nodes_up"], summary["buckets"], summary["alarms"]) == (3, 256, 0)
        assert_problem(await client.get("/explain?vserver=web&client=nobody"), 422, "ADDRESS:PORT", "client")
        assert_problem(await client.get("/explain?vserver=wbe&client=10.0.0.7:1"), 404, "did you mean 'web'?")
        metrics = (await client.get("/metrics")).text
        assert 'pentaflow_controller_node_up{node="n1"} 1.0' in metrics
        assert await get(client, "/alarms") == []


async def test_a_repeated_request_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch, up=False) as client:
        key = {"Idempotency-Key": "a"}
        first = await client.post("/plans", json={"weights": {"n1": 2}}, headers=key)
        again = await client.post("/plans", json={"weights": {"n1": 2}}, headers=key)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["Location"] == first.headers["Location"]
        other = await client.post("/plans", json={"weights": {"n1": 3}}, headers=key)
        assert_problem(other, 422, "used for another request")


async def test_events_are_streamed_from_where_the_client_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as client:
        last = (await get(client, "/events"))[-1]["id"]
        async with client.stream("GET", "/events/stream", headers={"Last-Event-ID": str(last)}) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": events"
            await client.put("/nodes/n1/intent", json={"state": "maintenance"})
            async with asyncio.timeout(10):
                found = [line async for line in _until(lines, "event: node_intent")]
        assert f"id: {last + 1}" in found


async def _until(lines: AsyncIterator[str], wanted: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == wanted:
            return


async def test_tokens_have_roles_and_refusals_are_in_the_audit_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts, entries = {}, []
    for role in Role:
        texts[role], entry = make_token(f"the-{role}", role)
        entries.append(entry.model_dump(mode="json"))
    (tmp_path / "tokens.yaml").write_text(yaml.safe_dump(entries))
    configuration = make_configuration(buckets=256)
    controller = configuration.controller.model_copy(update={"tokens": tmp_path / "tokens.yaml"})
    configuration = configuration.model_copy(update={"controller": controller})
    async with running_array(monkeypatch, configuration=configuration, up=False) as client:

        def as_(role: Role) -> dict[str, str]:
            return {"Authorization": f"Bearer {texts[role]}"}

        assert (await client.get("/health")).status_code in (200, 503)
        nobody = await client.get("/nodes")
        assert_problem(nobody, 401, "a bearer token is needed")
        assert nobody.headers["WWW-Authenticate"] == "Bearer"
        assert_problem(await client.get("/nodes", headers={"Authorization": "Bearer guess"}), 401, "not known")
        assert (await client.get("/nodes", headers=as_(Role.VIEWER))).status_code == 200
        drain = {"state": "draining"}
        refused = await client.put("/nodes/n1/intent", json=drain, headers=as_(Role.VIEWER))
        assert_problem(refused, 403, "the-viewer is viewer, this needs operator")
        assert (await client.put("/nodes/n1/intent", json=drain, headers=as_(Role.OPERATOR))).status_code == 200
        assert_problem(await client.get("/configuration", headers=as_(Role.OPERATOR)), 403, "needs admin")
        assert (await client.get("/configuration", headers=as_(Role.ADMIN))).status_code == 200
        audit = (await client.get("/audit", headers=as_(Role.ADMIN))).json()
        assert [(entry["who"], entry["method"], entry["status"]) for entry in audit] == [
            ("", "GET", 401),
            ("", "GET", 401),
            ("the-viewer", "PUT", 403),
            ("the-operator", "PUT", 200),
            ("the-operator", "GET", 403),
        ]
        assert texts[Role.ADMIN] not in json.dumps(audit)
        (tmp_path / "tokens.yaml").write_text(yaml.safe_dump(entries[:1]))
        assert (await client.get("/audit", headers=as_(Role.ADMIN))).status_code == 401, (
            "withdrawn tokens count no more"
        )


async def test_the_openapi_document_names_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch, up=False) as client:
        paths = (await get(client, "/openapi.json"))["paths"]
    assert {"/nodes/{name}/intent", "/plans/{plan_id}/apply", "/configuration/rollback", "/events/stream"} <= set(paths)
    assert "Node" in json.dumps(paths["/nodes/{name}"]["put"]["requestBody"])
