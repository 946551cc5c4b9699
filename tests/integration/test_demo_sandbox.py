"""The sandbox: what is refused, what its command's end, a signal and SIGKILL leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pentaflow import sandbox
from pentaflow.errors import HostError
from support.leftovers import Watch

RUN = """
import sys
from pentaflow import sandbox
sys.exit(sandbox.run(sys.argv[1:], started=lambda pid: print("started", flush=True)))
"""
# Ends as interrupted when its standard input is closed; a child of its is left running.
UNTIL_ASKED = "sleep 1000 & ip link add veth-left type veth peer name veth-right; echo ready; cat; exit 130"


def start(command: str, watch: Watch) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "sh", "-c", command], stdout=subprocess.PIPE, text=True, env=watch.environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "ready\n":
            break
    return process


def test_a_missing_privilege_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="demo: needs root to make network namespaces: run it with sudo"):
        sandbox.check("demo", [])


@pytest.mark.root
def test_missing_programs_are_named() -> None:
    with pytest.raises(HostError, match="demo: not installed: no-such-program, nor-this"):
        sandbox.check("demo", ["sh", "no-such-program", "nor-this"])


@pytest.mark.root
def test_the_status_of_the_command_comes_back_and_its_children_are_gone() -> None:
    watch = Watch()
    process = start("sleep 1000 & ip link add veth-left type veth peer name veth-right; echo ready; exit 7", watch)
    with process:
        assert process.wait(30) == 7
    watch.assert_nothing_left()
    assert not Path("/sys/class/net/veth-left").exists()


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_the_command_to_stop(number: signal.Signals) -> None:
    watch = Watch()
    with start(UNTIL_ASKED, watch) as process:
        assert watch.look()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    watch.assert_nothing_left()


@pytest.mark.root
def test_a_command_that_was_done_when_it_was_asked_to_stop_says_how_it_went() -> None:
    watch = Watch()
    with start("echo ready; cat; exit 0", watch) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    watch.assert_nothing_left()


@pytest.mark.root
def test_a_second_signal_does_not_wait_for_the_command() -> None:
    watch = Watch()
    with start("trap '' HUP; echo ready; cat; sleep 1000", watch) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(sandbox.STOP_TIMEOUT_S / 2) == 128 + signal.SIGINT
    watch.assert_nothing_left()


@pytest.mark.root
def test_kill_minus_9_of_the_outer_process_takes_everything_with_it() -> None:
    watch = Watch()
    with start("trap '' HUP TERM INT; echo ready; sleep 1000; sleep 1000", watch) as process:
        assert watch.look()
        process.kill()
        process.wait(30)
        watch.assert_nothing_left()
