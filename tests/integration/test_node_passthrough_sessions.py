"""TLS 1.2 sessions through a vserver of mode passthrough: whoever resumes one reaches the server that knows it [P5]."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.passthrough import BY_ID, TLS_1_2, TLS_1_3, passing_node, passthrough_document, s_client, tls_nginx
from support.resumption import session_of
from support.tlsnode import RunningNode

LEARNS: dict[str, Any] = {"persistence": {"learn": {}}}
NAMES = "abc"


def document_of(folder: Path, pools: dict[str, list[tuple[str, int]]], **vserver: Any) -> dict[str, Any]:
    return passthrough_document(folder, pools, **LEARNS, **vserver) | {"store": {"timeout_ms": 1000}}


async def persistence(node: RunningNode) -> dict[str, int]:
    counts = (await node.vserver_status())["persistence"]
    assert isinstance(counts, dict)
    return counts


async def why(node: RunningNode, question: dict[str, str]) -> dict[str, Any]:
    """What the node says of a client."""
    asked = await node.curl("--fail", "--json", json.dumps(question), f"http://{node.management}/sessions/web")
    answer = json.loads(asked.text)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("kind", ["ticket", "session_id"])
async def test_a_session_reaches_the_server_that_made_it(tmp_path: Path, kind: str) -> None:
    by_id = kind == "session_id"
    options = ["-tls1_2", "-servername", "www.example", *(["-no_ticket"] if by_id else [])]
    with ExitStack() as stack:
        directives = BY_ID if by_id else TLS_1_2
        servers = [stack.enter_context(tls_nginx(tmp_path, name, directives=directives)) for name in NAMES]
        document = document_of(tmp_path, {"servers": [(server.name, server.port) for server in servers]})
        async with passing_node(tmp_path, document, workers=2) as node:
            made = {}
            for number in range(3):
                session = tmp_path / f"session{number}"
                made[session] = await s_client(node.port, *options, "-sess_out", session)
            assert not any(said.resumed for said in made.values())
            for session, first in made.items():
                for _ in range(3):
                    said = await s_client(node.port, *options, "-sess_in", session)
                    assert (said.resumed, said.answer) == (True, first.answer)
            status = await node.vserver_status()
            assert (status["chosen_by"][kind], status["chosen_by"]["policy"]) == (9, 3)
            assert status["persistence"]["honoured"] == 9

            for session, first in made.items():
                question = {kind: getattr(await session_of(session), kind), "name": "www.example"}
                answer = await why(node, question)
                assert (answer["server"], answer["chosen_by"]) == (first.answer, kind)
            assert (await why(node, question | {"name": "other.example"}))["steps"] == [
                {"by": kind, "verdict": "foreign_name", "server": None},
                {"by": "policy", "verdict": "honoured", "server": None},
            ]
            assert (await why(node, question | {kind: "00"}))["steps"][0]["verdict"] == "unknown"
            assert (await why(node, {}))["steps"][0] == {"by": "ticket", "verdict": "none", "server": None}
            assert (await node.vserver_status())["persistence"] == status["persistence"]

            session, first = next(iter(made.items()))
            next(server for server in servers if server.name == first.answer).stop()
            renewed = tmp_path / "renewed"
            said = await s_client(node.port, *options, "-sess_in", session, "-sess_out", renewed)
            assert not said.resumed
            assert said.answer != first.answer, "its server is gone: another one was chosen"
            again = await s_client(node.port, *options, "-sess_in", renewed)
            assert (again.resumed, again.answer) == (True, said.answer)


async def test_a_session_counts_for_the_name_that_it_was_made_for(tmp_path: Path) -> None:
    with ExitStack() as stack:
        a, b = (stack.enter_context(tls_nginx(tmp_path, name, directives=TLS_1_2)) for name in "ab")
        document = document_of(tmp_path, {"servers": [("a", a.port), ("b", b.port)]})
        async with passing_node(tmp_path, document) as node:
            session = tmp_path / "session"
            await s_client(node.port, "-tls1_2", "-servername", "www.example", "-sess_out", session)
            for _ in range(2):
                await s_client(node.port, "-tls1_2", "-servername", "other.example", "-sess_in", session)
            counts = await persistence(node)
            assert (counts["foreign"], counts["honoured"]) == (2, 0)


async def test_what_nobody_has_learnt_is_scheduled(tmp_path: Path) -> None:
    with ExitStack() as stack:
        a, b = (stack.enter_context(tls_nginx(tmp_path, name, directives=TLS_1_3)) for name in "ab")
        document = document_of(tmp_path, {"servers": [("a", a.port), ("b", b.port)]})
        async with passing_node(tmp_path, document) as node:
            session = tmp_path / "session"
            answers = [(await s_client(node.port, "-tls1_3", "-sess_out", session)).answer for _ in range(2)]
            answers += [(await s_client(node.port, "-tls1_3", "-sess_in", session)).answer for _ in range(2)]
            assert sorted(answers) == ["a", "a", "b", "b"], "of TLS 1.3 nothing can be learnt"
            counts = await persistence(node)
            assert (counts["none"], counts["honoured"]) == (4, 0)
            status = await node.status()
            assert status["store"]["found"] == 0
            assert "internal error" not in node.log.read_text()
