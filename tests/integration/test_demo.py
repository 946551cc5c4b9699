"""`pentaflow demo` as a user runs it: what it shows, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pentaflow.demo import TOOLS
from support.leftovers import Watch

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

SWITCH = os.environ.get("SWITCH", "softswitch")
STOP_TIMEOUT_S = 60


@contextmanager
def demo(folder: Path, watch: Watch, *options: str, path: str = os.environ["PATH"]) -> Iterator[subprocess.Popen[str]]:
    """A demo with its `build/` in `folder`; killed if the test fails."""
    environment = watch.environment | {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": path, "COLUMNS": "200"}
    command = [sys.executable, "-m", "pentaflow", "demo", "--switch", SWITCH, *options]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The output up to the line with `words`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}, but: {said}")


def shadow(folder: Path, without: str) -> Path:
    """A PATH entry with everything that the demo needs except one program."""
    folder.mkdir()
    for tool in {*TOOLS, "setpriv", "unshare", "true", "env", "sh", "cat", "simple_switch_grpc"} - {without}:
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return folder


def test_the_demo_holds_stays_up_on_demand_and_leaves_nothing(tmp_path: Path) -> None:
    watch = Watch()
    with demo(tmp_path, watch, "--stay") as process:
        assert "all held" in read_until(process, "stays up until Ctrl-C")
        assert watch.look()
        on = tmp_path / "build" / "demo" / "on"
        body = subprocess.run(
            [on, "c1", "curl", "-s", "https://www.pentaflow.test/"], capture_output=True, text=True, check=True
        ).stdout
        assert body in {"w1\n", "w2\n", "w3\n"}
        unknown = subprocess.run([on, "c9", "true"], capture_output=True, text=True, check=False)
        assert unknown.returncode == 2
        assert "the hosts are: c0 c1 c2 n1 n2 n3 s1 w1 w2 w3" in unknown.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0
    watch.assert_nothing_left()
    assert not on.exists()
    document = json.loads((tmp_path / "build" / "demo.json").read_text())
    assert document["held"] is True
    assert document["problems"] == []
    assert document["switch"] == SWITCH
    assert document["spread"]["as_mapped"] == document["spread"]["connections"] == 300
    assert all(share["connections"] for share in document["spread"]["by_node"].values())
    session = document["persistence"]
    assert session["to_server"] == session["requests"] == 200
    assert set(session["by_node"]) == {"n1", "n2", "n3"}
    assert set(session["without_cookie"]) == {"w1", "w2", "w3"}
    failure = document["node_failure"]
    assert failure["switch_writes"] == failure["expected_switch_writes"] == 16
    assert failure["detection_ms"] > 0
    assert document["node_return"]["node"] == failure["node"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    watch = Watch()
    with demo(tmp_path, watch) as process:
        read_until(process, "ok starting")
        assert watch.look()
        process.send_signal(number)
        assert process.wait(STOP_TIMEOUT_S) == 128 + number
    watch.assert_nothing_left()
    assert not (tmp_path / "build" / "demo.json").exists()


def test_a_killed_demo_leaves_nothing(tmp_path: Path) -> None:
    watch = Watch()
    with demo(tmp_path, watch) as process:
        read_until(process, "ok starting")
        assert watch.look()
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        watch.assert_nothing_left()


def test_what_does_not_hold_fails_the_demo_with_the_reason(tmp_path: Path) -> None:
    tools = shadow(tmp_path / "bin", without="nginx")
    # Every server calls itself w1: requests without a cookie seem to reach only one.
    (tools / "nginx").write_text(
        f'#!/bin/sh\nfor conf; do :; done\nsed -i "s/X-Server w[0-9]/X-Server w1/" "$conf"\n'
        f'exec {shutil.which("nginx")} "$@"\n'
    )
    (tools / "nginx").chmod(0o755)
    watch = Watch()
    with demo(tmp_path, watch, path=f"{tools}:{os.environ['PATH']}") as process:
        said, _ = process.communicate(timeout=STOP_TIMEOUT_S * 3)
        assert process.returncode == 1
    watch.assert_nothing_left()
    document = json.loads((tmp_path / "build" / "demo.json").read_text())
    assert document["held"] is False
    assert document["problems"] == ["without cookies only 1 of 3 servers were reached"]
    assert document["problems"][0] in said
    assert "did not hold" in said


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with demo(tmp_path, Watch(), path=str(shadow(tmp_path / "bin", without="nginx"))) as process:
        assert process.communicate(timeout=STOP_TIMEOUT_S)[1] == "pentaflow: demo: not installed: nginx\n"
        assert process.returncode == 2


def test_a_second_demo_in_the_same_place_is_refused(tmp_path: Path) -> None:
    watch = Watch()
    with demo(tmp_path, watch) as first:
        read_until(first, "ok starting")
        with demo(tmp_path, Watch()) as second:
            said = second.communicate(timeout=STOP_TIMEOUT_S)[1]
            assert said == f"pentaflow: demo: another demo is running in {tmp_path}/build/demo\n"
            assert second.returncode == 2
        first.send_signal(signal.SIGTERM)
        assert first.wait(STOP_TIMEOUT_S) == 128 + signal.SIGTERM
    watch.assert_nothing_left()
