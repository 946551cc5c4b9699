from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pentaflow.errors import HostError
from tlsnodes.access_line import encode_access
from tlsnodes.access_log import MAX_WAITING_BYTES, Access, AccessLog, open_access_log

ACCESS = Access(
    ended_at=1_700_000_000.25,
    vserver="shop",
    client="192.0.2.7:4711",
    tls="TLSv1.3",
    method=b"GET",
    host=b"shop.example",
    target=b'/a?b="c"\xff\\',
    status=200,
    server="w1",
    chosen_by="ticket",
    bytes_in=0,
    bytes_out=345,
    first_byte_s=0.0012,
    duration_s=0.0034,
    retries=1,
    refused="",
    request_id=b"abc",
)


def test_a_line_is_json_whatever_the_client_sent() -> None:
    line = encode_access(ACCESS, b"2023-11-14T22:13:20")
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "vserver": "shop",
        "client": "192.0.2.7:4711",
        "tls": "TLSv1.3",
        "method": "GET",
        "host": "shop.example",
        "target": '/a?b="c"ÿ\\',
        "status": 200,
        "server": "w1",
        "chosen_by": "ticket",
        "bytes_in": 0,
        "bytes_out": 345,
        "first_byte_ms": 1.2,
        "duration_ms": 3.4,
        "retries": 1,
        "refused": "",
        "request_id": "abc",
    }
    assert json.loads(encode_access(ACCESS._replace(first_byte_s=None), b""))["first_byte_ms"] is None


@pytest.mark.parametrize("octets", [bytes(range(256)), bytes(40_000), b""])
def test_every_octet_and_every_character_is_told(octets: bytes) -> None:
    text = octets.decode("latin-1") + "\u20ac\U0001f600"
    access = ACCESS._replace(target=octets, request_id=octets, refused=text, server=octets[:128].decode())
    line = encode_access(access, b"2023-11-14T22:13:20")
    told = json.loads(line)
    assert line.isascii()
    assert told["target"] == told["request_id"] == octets.decode("latin-1")
    assert told["refused"] == text
    assert told["server"] == octets[:128].decode()


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0.000"), (1e-7, "0.000"), (59.9999999, "60000.000"), (1e5, "1" + "0" * 8 + ".000")]
)
def test_durations_have_microseconds(seconds: float, told: str) -> None:
    line = encode_access(ACCESS._replace(duration_s=seconds, bytes_out=2**62, ended_at=1_700_000_000.9999), b"")
    assert f'"duration_ms":{told},'.encode() in line
    assert json.loads(line)["bytes_out"] == 2**62
    assert json.loads(line)["time"] == ".999Z"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_written_together_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(open_access_log(path))
    log.add(ACCESS)
    log.add(ACCESS._replace(ended_at=ACCESS.ended_at + 1, status=404))
    assert path.read_text() == ""
    log.flush()
    assert [(line["status"], line["time"]) for line in lines(path)] == [
        (200, "2023-11-14T22:13:20.250Z"),
        (404, "2023-11-14T22:13:21.250Z"),
    ]
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    log.close()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(open_access_log(path))
    while path.stat().st_size == 0:
        log.add(ACCESS._replace(target=b"/" + b"x" * 60_000))
    assert path.stat().st_size < MAX_WAITING_BYTES + 100_000
    log.close()


def test_a_renamed_file_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(open_access_log(path))
    log.add(ACCESS)
    path.rename(old)
    log.go_on_in(open_access_log(path))
    log.add(ACCESS._replace(status=500))
    log.close()
    assert [line["status"] for line in lines(old)] == [200]
    assert [line["status"] for line in lines(path)] == [500]


def test_what_a_pipe_does_not_take_waits_and_then_is_lost_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(open_access_log(path))
    long = ACCESS._replace(target=b"/" + b"x" * 10_000)
    added = 0
    while not log.lost:
        log.add(long)
        added += 1
    log.add(long)
    assert log.lost == 2
    read = b""
    while True:
        try:
            read += os.read(reader, 1 << 20)
        except BlockingIOError:
            log.flush()
            try:
                read += os.read(reader, 1 << 20)
            except BlockingIOError:
                break
    log.add(ACCESS)
    log.close()
    read += os.read(reader, 1 << 20)
    os.close(reader)
    assert [json.loads(line)["target"] for line in read.splitlines()].count(long.target.decode()) == added - 1


def test_a_full_disk_costs_no_more_memory_than_what_may_wait() -> None:
    log = AccessLog(open_access_log(Path("/dev/full")))
    long = ACCESS._replace(target=b"/" + b"x" * 10_000)
    for _ in range(200):
        log.add(long)
    log.flush()
    assert MAX_WAITING_BYTES // 10_000 - 5 < 200 - log.lost <= MAX_WAITING_BYTES // 10_000
    log.close()


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=f"access log: cannot open {tmp_path}/none/access.log: No such file"):
        open_access_log(tmp_path / "none" / "access.log")
