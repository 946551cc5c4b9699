"""The reference back end obeys its record: real OpenSSL clients resume its sessions by their ids [P6]."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pentaflow.session_ids import SessionIdRecord, SessionIdReport
from support.backends import Answered, ask, running_backend
from support.tlsnode import scripted_server


def write_record(path: Path, **fields: object) -> str:
    given = {"vserver": "www", "server": 1, "version": 1, "lifetime_s": 300, "issue_until_s": int(time.time()) + 3600}
    path.write_text(SessionIdRecord.model_validate(given | fields).model_dump_json())
    return str(path)


async def until(holds: Callable[[Answered], bool], port: int, **files: Path | None) -> Answered:
    """The first answer that is so."""
    async with asyncio.timeout(20):
        while True:
            answer = await ask(port, session=files.get("session"), keep=files.get("keep"))
            if holds(answer):
                return answer
            await asyncio.sleep(0.1)


async def issuing(port: int, prefix: str, keep: Path | None = None) -> Answered:
    """The first answer under an id that begins so: the back end has taken its record then."""
    return await until(lambda answer: answer.session_id.startswith(prefix), port, keep=keep)


async def test_sessions_are_resumed_by_ids_of_the_record(tmp_path: Path) -> None:
    record = write_record(tmp_path / "record", issues="ab00/8")
    async with running_backend("web-1", record, tmp_path) as port:
        kept = tmp_path / "session"
        first = await issuing(port, "ab", keep=kept)
        assert (first.server, len(first.session_id), first.resumed) == ("web-1", 64, False)
        assert await ask(port, session=kept) == Answered(server="web-1", session_id=first.session_id, resumed=True)
        assert await ask(port, session=kept) == Answered(server="web-1", session_id=first.session_id, resumed=True)
        assert (await ask(port)).session_id != first.session_id


async def test_another_record_is_obeyed_at_once_and_old_sessions_last(tmp_path: Path) -> None:
    record = write_record(tmp_path / "record", issues="ab00/8")
    async with running_backend("web-1", record, tmp_path) as port:
        kept = tmp_path / "session"
        await issuing(port, "ab", keep=kept)
        write_record(tmp_path / "record", version=2, issues="cd00-cd01", accepts="ab00/8")
        await issuing(port, "cd")
        assert (await ask(port, session=kept)).resumed


@pytest.mark.parametrize(
    "fields", [{"issues": ""}, {"issues": "ab00/8", "issue_until_s": 1}], ids=["no group", "the lease is over"]
)
async def test_who_may_issue_none_makes_sessions_without_ids(tmp_path: Path, fields: dict[str, object]) -> None:
    record = write_record(tmp_path / "record", issues="ab00/8")
    async with running_backend("web-1", record, tmp_path) as port:
        kept = tmp_path / "session"
        await issuing(port, "ab", keep=kept)
        write_record(tmp_path / "record", version=2, **fields)
        await until(lambda answer: not answer.session_id, port)
        assert (await ask(port, session=kept)).resumed


async def test_sessions_end_with_their_lifetime(tmp_path: Path) -> None:
    record = write_record(tmp_path / "record", issues="ab00/8", lifetime_s=2)
    async with running_backend("web-1", record, tmp_path) as port:
        kept = tmp_path / "session"
        await issuing(port, "ab", keep=kept)
        await until(lambda answer: not answer.resumed, port, session=kept)


async def test_a_token_is_shown_to_the_controller_that_leads_which_hears_what_is_left(tmp_path: Path) -> None:
    fields = {"vserver": "www", "server": 1, "version": 7, "issues": "ab00/8", "accepts": "cd00/8", "lifetime_s": 300}
    record = SessionIdRecord.model_validate(fields | {"issue_until_s": int(time.time()) + 3600}).model_dump_json()
    seen: asyncio.Queue[tuple[str, str, bool, bytes]] = asyncio.Queue()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            method, path, _ = head.split(maxsplit=2)
            size = int(head.partition("content-length: ")[2].split("\r")[0] or 0)
            body = await reader.readexactly(size)
            seen.put_nowait((method, path, "authorization: bearer secret" in head, body))
            answer = record if method == "get" else ""
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            location = f"http://127.0.0.1:{leader}{head.split()[1]}"
            writer.write(f"HTTP/1.1 307 Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    (tmp_path / "token").write_text("secret\n")
    async with scripted_server(lead) as leader, scripted_server(follow) as follower:
        url = f"http://127.0.0.1:{follower}/session-ids/www/web-1"
        async with running_backend("web-1", url, tmp_path, "--token-file", tmp_path / "token") as port:
            await issuing(port, "ab")
            *asked, _ = await asyncio.wait_for(seen.get(), 20)
            *told_to, text = await asyncio.wait_for(seen.get(), 20)
    assert asked == ["get", "/session-ids/www/web-1", True]
    assert told_to == ["put", "/session-ids/www/web-1/report", True]
    told = SessionIdReport.model_validate_json(text)
    assert (told.version, [(group.keys, group.in_use) for group in told.groups]) == (7, [("cd00-cdff", ())])


async def test_without_a_record_no_session_has_an_id(tmp_path: Path) -> None:
    async with running_backend("web-1", str(tmp_path / "nothing"), tmp_path) as port:
        assert await ask(port) == Answered(server="web-1", session_id="", resumed=False)
