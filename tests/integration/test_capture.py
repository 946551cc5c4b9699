"""Captures of ports: what the files hold, and what ends them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from pentaflow.errors import ConfigurationError, HostError
from softswitch.capture import Capture
from support.ports import free_port
from support.targets import Cable, laid_cable

pytestmark = pytest.mark.root

WAIT_S = 10.0
SWITCH_SIDE = f"pfc{os.getpid() % 1_000_000}s"
TEST_SIDE = f"pfc{os.getpid() % 1_000_000}t"
PLAIN = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(range(50))
TAGGED = bytes.fromhex("ffffffffffff 020000000001 8100 0007 88b5") + bytes(range(50))
HEADER = 24
RECORD = 16


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    with laid_cable(SWITCH_SIDE, TEST_SIDE) as cable:
        yield cable


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(0.005)


def records(path: Path) -> list[tuple[bytes, float]]:
    """Frames and their times, in seconds, of a whole file."""
    with RawPcapReader(str(path)) as reader:
        assert (reader.nano, reader.linktype) == (True, 1)
        return [(bytes(frame), meta.sec + meta.usec / 1e9) for frame, meta in reader]


def size(path: Path) -> int:
    return path.stat().st_size


def switch_sends(frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((SWITCH_SIDE, 0))
        sender.send(frame)


async def test_what_comes_and_what_goes_is_there_at_once(cable: Cable, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    before = time.time()
    capture = Capture(SWITCH_SIDE, path, 1 << 20)
    try:
        cable.send(PLAIN)
        cable.send(TAGGED)
        # What comes waits for the kernel to take it from a queue, what goes does not.
        await until(lambda: size(path) == HEADER + 2 * RECORD + len(PLAIN) + len(TAGGED))
        switch_sends(PLAIN[::-1])
        switch_sends(TAGGED)
        await until(lambda: size(path) == HEADER + 4 * RECORD + 2 * len(PLAIN) + 2 * len(TAGGED))
        found = records(path)
    finally:
        capture.close()
    assert [frame for frame, _ in found] == [PLAIN, TAGGED, PLAIN[::-1], TAGGED]
    times = [moment for _, moment in found]
    assert times == sorted(times)
    assert before - 1 <= times[0] <= times[-1] <= time.time() + 1


async def test_the_file_grows_no_longer_than_allowed(cable: Cable, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    capture = Capture(SWITCH_SIDE, path, HEADER + 3 * (RECORD + len(PLAIN)) + 5)
    try:
        for _ in range(10):
            cable.send(PLAIN)
        await until(lambda: len(records(path)) == 3)
        assert [frame for frame, _ in records(path)] == [PLAIN] * 3
    finally:
        capture.close()


async def test_an_interface_may_go_and_come_back(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    path = tmp_path / "a.pcap"
    with contextlib.ExitStack() as cleanup:
        with laid_cable(SWITCH_SIDE, TEST_SIDE) as cable:
            capture = cleanup.enter_context(contextlib.closing(Capture(SWITCH_SIDE, path, 1 << 20)))
            cable.send(PLAIN)
            await until(lambda: size(path) == HEADER + RECORD + len(PLAIN))
        with laid_cable(SWITCH_SIDE, TEST_SIDE) as again:

            def arrives() -> bool:
                again.send(TAGGED)
                return size(path) > HEADER + RECORD + len(PLAIN)

            await until(arrives)
            capture.close()
    assert [frame for frame, _ in records(path)][:2] == [PLAIN, TAGGED]


async def test_a_file_that_cannot_be_made(cable: Cable, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written: No such file or directory"):
        Capture(SWITCH_SIDE, tmp_path / "none/a.pcap", 1 << 20)


async def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="interface 'none0' can't be opened: No such device"):
        Capture("none0", tmp_path / "a.pcap", 1 << 20)
    assert not (tmp_path / "a.pcap").exists()


async def test_a_full_disk(cable: Cable) -> None:
    with pytest.raises(ConfigurationError, match="No space left on device"):
        Capture(SWITCH_SIDE, Path("/dev/full"), 1 << 20)


def test_the_command_captures(cable: Cable, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    command = [sys.executable, "-m", "pentaflow", "switch", "--grpc", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen([*command, f"--port=1={SWITCH_SIDE}", f"--pcap=1={path}", "--pcap-mib=1"])
    try:
        deadline = time.monotonic() + WAIT_S
        while not (path.exists() and size(path) > HEADER):
            assert time.monotonic() < deadline
            cable.send(PLAIN)
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
    assert {frame for frame, _ in records(path)} == {PLAIN}


def test_a_disk_that_fills_up_ends_the_capture_and_nothing_else(cable: Cable, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    command = ["prlimit", f"--fsize={HEADER + 100}", sys.executable, "-B", "-m", "pentaflow", "switch"]
    options = ["--grpc", f"127.0.0.1:{free_port()}", f"--port=1={SWITCH_SIDE}", f"--pcap=1={path}"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while not (path.exists() and size(path) > HEADER):
            assert time.monotonic() < deadline
            cable.send(PLAIN)
            time.sleep(0.02)
        cable.send(PLAIN)
        assert process.stderr is not None
        assert "capture ended" in (line := process.stderr.readline())
        assert "File too large" in line
        assert process.poll() is None
        process.terminate()
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()
