"""Running a command so that nothing of it is left, whatever happens.

The command runs in network, process and mount namespaces of its own. It is process 1 there: when it ends, the kernel
kills every process in them and removes every interface and nested namespace. It is killed when this process dies,
even by SIGKILL. Its standard input is a pipe that is closed to ask it to stop: see `stop_when_abandoned`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from pentaflow.errors import HostError

NAMESPACES = ("--net", "--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc")
ENTER = ("setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES)
ENTER_SCRIPT = "on"
# What a command ends with that was not done when it was asked to stop.
EXIT_INTERRUPTED = 128 + signal.SIGINT
STOP_TIMEOUT_S = 15.0
_POLL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check(place: str, tools: Sequence[str]) -> None:
    """Check that a sandbox can be made here and that `tools` are installed.

    Raises:
        HostError: not root, namespaces not allowed, or a program is missing.
    """
    if os.geteuid() != 0:
        raise HostError(place, "needs root to make network namespaces: run it with sudo")
    missing = [tool for tool in ("setpriv", "unshare", *tools) if shutil.which(tool) is None]
    if missing:
        raise HostError(place, f"not installed: {', '.join(missing)}")
    tried = subprocess.run([*ENTER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise HostError(place, f"cannot make namespaces here: {' '.join(tried.stderr.split())}")


def run(argv: Sequence[str], *, started: Callable[[int], None]) -> int:
    """Run `argv` in a sandbox until it ends; SIGINT, SIGTERM and SIGHUP ask it to stop, a second one kills it.

    Call it from the main thread, after `check`.

    Args:
        argv: the command.
        started: called with the pid whose `net`, `mnt` and `pid_for_children` namespaces are the sandbox's.

    Returns:
        The command's exit status; 128 + the number of a signal if one interrupted or killed it.
    """
    stopped_by: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stopped_by.append(number)

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    # A session of its own: Ctrl-C in the terminal reaches only this process, which stops the sandbox in order.
    process = subprocess.Popen([*ENTER, *argv], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    try:
        started(process.pid)
        _wait(process, stopped_by)
    finally:
        process.kill()
        status = process.wait()
        process.stdin.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped_by and (status < 0 or status == EXIT_INTERRUPTED):
        return 128 + stopped_by[0]
    return status if status >= 0 else 128 - status


def _wait(process: subprocess.Popen[bytes], stopped_by: list[int]) -> None:
    assert process.stdin is not None
    while not stopped_by:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue
        return
    process.stdin.close()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and len(stopped_by) == 1 and process.poll() is None:
        time.sleep(_POLL_S)


def stop_when_abandoned() -> None:
    """Inside: bring the loopback up, and raise KeyboardInterrupt in the main thread once standard input is closed."""
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        signal.pthread_kill(main, signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    threading.Thread(target=watch, name="stdin", daemon=True).start()


def enter_script(pid: int, pids: Path, environment: str) -> str:
    """A shell script that runs a command in the namespaces of one of the sandbox's processes.

    Args:
        pid: what `run` gave to `started`.
        pids: folder with one file for each name that the script knows, holding a pid inside the sandbox.
        environment: `NAME=value` for the command.
    """
    namespaces = " ".join(
        f"--{kind}=/proc/{pid}/ns/{name}"
        for kind, name in (("net", "net"), ("mount", "mnt"), ("pid", "pid_for_children"))
    )
    return f"""\
#!/bin/sh
# Runs a command on a host of the running demo: {{host name}} {{command}} ...
name=$1
if [ ! -f "{pids}/$name" ]; then
    echo "usage: $0 HOST COMMAND ...; the hosts are: $(ls "{pids}" | tr '\\n' ' ')" >&2
    exit 2
fi
shift
exec nsenter {namespaces} -- mnexec -a "$(cat "{pids}/$name")" env "{environment}" "$@"
"""
