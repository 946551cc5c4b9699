from __future__ import annotations

import json
from pathlib import Path

from tlsnodes.access_log import MAX_WAITING_BYTES, Access, AccessLog, encode_access

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
    bytes_in=0,
    bytes_out=345,
    first_byte_s=0.0012,
    duration_s=0.0034,
    retries=1,
    refused="",
)


def test_a_line_is_json_whatever_the_client_sent() -> None:
    line = encode_access(ACCESS, "2023-11-14T22:13:20")
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
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
        "bytes_in": 0,
        "bytes_out": 345,
        "first_byte_ms": 1.2,
        "duration_ms": 3.4,
        "retries": 1,
        "refused": "",
    }
    assert json.loads(encode_access(ACCESS._replace(first_byte_s=None), ""))["first_byte_ms"] is None


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_written_together_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
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
    log = AccessLog(path)
    while path.stat().st_size == 0:
        log.add(ACCESS._replace(target=b"/" + b"x" * 60_000))
    assert path.stat().st_size < MAX_WAITING_BYTES + 100_000
    log.close()


def test_a_renamed_file_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(path)
    log.add(ACCESS)
    path.rename(old)
    log.reopen()
    log.add(ACCESS._replace(status=500))
    log.close()
    assert [line["status"] for line in lines(old)] == [200]
    assert [line["status"] for line in lines(path)] == [500]


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    log = AccessLog(Path("/dev/full"))
    log.add(ACCESS)
    log.add(ACCESS)
    log.flush()
    assert log.lost == 2
    log.close()
