"""Session-id ranges from the plan of the controller to real back ends, whose sessions OpenSSL clients resume [P6]."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

from pentaflow.config import HostPort
from support.backends import Answered, ask
from support.ports import free_port
from support.ranged_array import Place, array_document, is_settled, running_controller, whole_array
from support.virtual_array import status_server

REPORT: dict[str, Any] = {"version": 10_000, "groups": [{"keys": "0000/0", "last_expiry_s": 0, "in_use": []}]}


def held(groups: list[dict[str, Any]], stage: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in groups:
        if group["stage"] == stage:
            found[group["server"]] = found.get(group["server"], 0) + group["size"]
    return found


async def test_the_first_plan_is_made_and_kept(tmp_path: Path) -> None:
    document = array_document({"web-1": 1, "web-2": 2}, rest=free_port(), nodes=[Place.free()], spare_percent=50)
    async with running_controller(document, tmp_path / "store") as array:
        # There is no node that serves: nobody routes by an older table.
        [found] = await array.until("/session-ids", lambda f: held(f[0]["groups"], "issuing"))
        assert held(found["groups"], "issuing") == {"web-1": 16384, "web-2": 16384}
        assert held(found["groups"], "spare") == {"": 32768}
        assert found["is_as_configured"]
        record = await array.get("/session-ids/www/web-2")
        assert (record["issues"], record["accepts"], record["server"]) == ("4000-7fff", "", 2)
        table = await array.get("/session-ids/www")
        assert {group["keys"]: group["servers"] for group in table["groups"]} == {"0000-3fff": [1], "4000-7fff": [2]}
    async with running_controller(document, tmp_path / "store") as array:
        assert await array.get("/session-ids/www") == table
        assert (await array.get("/session-ids/www/web-2"))["issue_until_s"] == record["issue_until_s"]


async def test_nobody_issues_while_a_node_that_serves_has_no_table(tmp_path: Path) -> None:
    place = Place.free()
    document = array_document({"web-1": 1, "web-2": 2}, rest=free_port(), nodes=[place])
    host, _, port = place.management.rpartition(":")
    # The node does not understand tables.
    async with (
        status_server(HostPort(host=host, port=int(port))),
        running_controller(document, tmp_path / "s") as array,
    ):
        await array.until("/nodes", lambda nodes: nodes[0]["status"] is not None)
        [found] = await array.until("/session-ids", lambda found: held(found[0]["groups"], "offered"))
        assert (held(found["groups"], "offered"), found["behind"]) == ({"web-1": 29491, "web-2": 29491}, ["node1"])
        assert (await array.get("/session-ids/www/web-1"))["issues"] == ""


async def test_a_replan_is_planned_then_applied_and_waits_for_the_servers(tmp_path: Path) -> None:
    document = array_document({"web-1": 1, "web-2": 2}, rest=free_port(), nodes=[Place.free()])
    async with running_controller(document, tmp_path / "store") as array:
        await array.until("/session-ids", lambda f: held(f[0]["groups"], "issuing"))
        await array.get("/session-ids/www/web-1")
        await array.configure(percent={"web-2": 90})
        [found] = await array.get("/session-ids")
        assert not found["is_as_configured"]
        assert held(found["groups"], "issuing") == {"web-1": 29491, "web-2": 29491}
        plan = (await array.change("POST", "/session-ids/www/plan")).json()
        assert (plan["moves"], held(plan["after"], "draining")) == (29491, {"web-1": 29491})
        assert (await array.change("POST", "/session-ids/www/plans/other/apply")).status_code == 409
        assert (await array.change("POST", f"/session-ids/www/plans/{plan['id']}/apply")).status_code == 200
        assert (await array.change("POST", f"/session-ids/www/plans/{plan['id']}/apply")).status_code == 409
        record = await array.get("/session-ids/www/web-1")
        assert (record["issues"], record["accepts"]) == ("", "0000-7332")
        assert (await array.change("PUT", "/session-ids/www/web-1/report", REPORT)).status_code == 204
        [found] = await array.until("/session-ids", lambda f: not held(f[0]["groups"], "draining"))
        await array.until("/session-ids", lambda f: held(f[0]["groups"], "issuing") == {"web-2": 58982})


async def test_who_asks_for_what_there_is_not(tmp_path: Path) -> None:
    document = array_document({"web-1": 1}, rest=free_port(), nodes=[Place.free()])
    async with running_controller(document, tmp_path / "store") as array:
        assert (await array.change("GET", "/session-ids/ww")).json()["detail"].endswith("did you mean 'www'?")
        assert (await array.change("GET", "/session-ids/www/web-2")).status_code == 404
        assert (await array.change("PUT", "/session-ids/www/web-1/report", {"version": -1})).status_code == 422


async def test_an_operator_plans_and_applies_by_command_and_sees_it_in_the_metrics(tmp_path: Path) -> None:
    document = array_document({"web-1": 1, "web-2": 2}, rest=free_port(), nodes=[Place.free()])
    async with running_controller(document, tmp_path / "store") as array:

        async def run(*arguments: str, status: int = 0) -> str:
            command = (sys.executable, "-m", "pentaflow", "session-ids", *arguments, "--url", array.url)
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == status, output
            return output.decode()

        await array.until("/session-ids", lambda found: is_settled(found[0]))
        assert "www, version 2, 0 exceptions: as configured\n" in await run()
        await array.configure(percent={"web-2": 90})
        assert "not as configured" in await run()
        planned = await run("plan", "www")
        assert ": 29,491 keys are no longer issued" in planned
        plan = planned.split()[1].rstrip(":")
        assert "web-2" in await run("apply", "www", plan)
        assert (await run("apply", "www", plan, status=1)).endswith("by now: plan again (409)\n")
        assert await run("plan", status=2) == "pentaflow: session-ids plan: needs the name of a vserver\n"
        sentence = "needs a plan, as `session-ids plan www` gives one"
        assert await run("apply", "www", status=2) == f"pentaflow: session-ids apply: {sentence}\n"
        await array.until("/session-ids", lambda found: is_settled(found[0]))
        metrics = (await array.change("GET", "/metrics")).text
        held = 'pentaflow_controller_session_id_keys{server="%s",stage="%s",vserver="www"} %s'
        assert held % ("web-2", "issuing", "58982.0") in metrics
        assert held % ("", "spare", "6554.0") in metrics
        assert 'pentaflow_controller_session_id_exceptions{vserver="www"} 0.0' in metrics
        assert 'pentaflow_controller_session_id_nodes_behind{vserver="www"} 0.0' in metrics


async def test_sessions_are_resumed_through_any_node_while_groups_move(tmp_path: Path) -> None:
    """Round robin would send every other connection elsewhere; one that resumes goes to its issuer, always."""
    async with whole_array(tmp_path, ["web-1", "web-2"], lifetime_s=3600, exceptions=0) as array:
        kept = {name: await array.session_of(name) for name in ("web-1", "web-2")}

        async def check() -> None:
            for name, (file, session_id) in kept.items():
                again = Answered(server=name, session_id=session_id, resumed=True)
                assert await array.ask_all(file) == [again] * 4

        await check()
        # All of web-1's keys are to be web-2's, as soon as its ids have expired.
        moved = {"percent": {"web-2": 90}, "lifetime_s": 3600}
        await array.control.configure(**moved, exceptions=0)
        await array.control.replan()
        await array.control.until("/session-ids/www/web-1", lambda record: not record["issues"])
        await check()
        [found] = await array.control.get("/session-ids")
        assert (held(found["groups"], "draining"), found["exceptions"]) == ({"web-1": 29491}, 0)
        # Those that are in use may stay behind instead: the keys move at once.
        await array.control.configure(**moved)
        [found] = await array.control.until("/session-ids", lambda found: is_settled(found[0]))
        assert held(found["groups"], "issuing") == {"web-2": 58982}
        assert found["exceptions"] >= 1
        await check()


def forge(session: Path, session_id: str, forged: str) -> Path:
    """The same session, as if its server had called it something else."""
    begin, *lines, end = session.read_text().splitlines()
    changed = base64.b64decode("".join(lines)).replace(bytes.fromhex(session_id), bytes.fromhex(forged))
    file = session.with_name(f"forged-{forged}")
    file.write_text("\n".join((begin, base64.encodebytes(changed).decode().rstrip(), end, "")))
    return file


async def test_ids_that_nobody_made_are_for_the_default_server_or_whose_range_they_are_in(tmp_path: Path) -> None:
    """They resume nothing, and are nothing more than a new client's."""
    settings = {"percent": {"web-1": 25, "web-2": 25}, "spare_percent": 50, "default_server": "web-2"}
    async with whole_array(tmp_path, ["web-1", "web-2", "web-3"], **settings) as array:
        file, session_id = await array.session_of("web-1")
        table = await array.control.get("/session-ids/www")
        assert {group["keys"]: group["servers"] for group in table["groups"]} == {"0000-3fff": [1], "4000-7fff": [2]}
        for key, server in (("8000", "web-2"), ("ffff", "web-2"), ("0123", "web-1"), ("4567", "web-2")):
            answers = await array.ask_all(forge(file, session_id, key + 30 * "5a"))
            assert [(answer.server, answer.resumed) for answer in answers] == [(server, False)] * 4
            answer = await array.control.change(
                "GET", "/sessions/www?node=node1", **{"Client-Session-Id": key + 60 * "5"}
            )
            assert (answer.json()["server"], answer.json()["chosen_by"]) == (server, "session_id"), answer.text
            assert answer.json()["steps"][0]["verdict"] == ("unknown" if key > "7fff" else "honoured")
        assert await array.counted("persistence", "unknown") == 8
        assert await array.counted("persistence", "honoured") == 8
        assert await array.counted("chosen_by", "session_id") == 16


async def test_when_a_server_is_gone_its_clients_get_another_one_and_stay_there(tmp_path: Path) -> None:
    async with whole_array(tmp_path, ["web-1", "web-2"]) as array:
        await array.session_of("web-1")  # it makes ids
        file, session_id = await array.session_of("web-2")
        await array.end("web-2")
        anew = tmp_path / "anew"
        found = await ask(array.nodes[1].port, session=file, keep=anew)
        assert (found.server, found.resumed, found.session_id != session_id) == ("web-1", False, True)
        assert await array.ask_all(anew) == [Answered(server="web-1", session_id=found.session_id, resumed=True)] * 4


async def test_who_shares_the_ids_of_a_server_that_is_gone_is_asked_next(tmp_path: Path) -> None:
    settings = {"shared": [["web-1", "web-2"]], "spare_percent": 0}
    async with whole_array(tmp_path, ["web-1", "web-2", "web-3"], **settings) as array:
        table = await array.control.get("/session-ids/www")
        assert [group["servers"] for group in table["groups"]] == [[1, 2], [3]]
        file, _ = await array.session_of("web-1")
        assert {answer.server for answer in await array.ask_all(file)} == {"web-1"}
        await array.end("web-1")
        assert {answer.server for answer in await array.ask_all(file)} == {"web-2"}
