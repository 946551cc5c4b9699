"""Interfaces and namespaces for a benchmark, inside the sandbox that `make bench` makes; all go with the block."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pentaflow.errors import HostError

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.02
_OFFLOADS = ("rx", "tx", "tso", "gso", "gro")


def command(*argv: str) -> str:
    """Run a command and return what it prints.

    Raises:
        HostError: it is not installed, fails or takes too long.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)
    except FileNotFoundError:
        raise HostError("bench", f"not installed: {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise HostError("bench", f"'{' '.join(argv)}' took longer than {COMMAND_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise HostError("bench", f"'{' '.join(argv)}' failed: {' '.join(done.stderr.split())}")
    return done.stdout


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition.

    Raises:
        HostError: it does not come true in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise HostError("bench", f"{what}: not within {READY_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: SIGTERM, then SIGKILL."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Host:
    """A network namespace, with its loopback up."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._enter = ("nsenter", f"--net=/proc/{pid}/ns/net")

    def command(self, *argv: str) -> str:
        """Run a command there; see `command`."""
        return command(*self._enter, *argv)

    @contextmanager
    def serving(self, *argv: str, port: int) -> Iterator[None]:
        """Run a server there while the block runs; it listens on the TCP port when the block begins."""
        process = subprocess.Popen(
            [*self._enter, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def listens() -> bool:
            if process.poll() is not None:
                raise HostError("bench", f"'{argv[0]}' ended with status {process.returncode}")
            return bool(self.command("ss", "-Hltn", f"sport = :{port}"))

        try:
            wait_until(f"'{argv[0]}' listens", listens)
            yield
        finally:
            stop(process)


@contextmanager
def host() -> Iterator[Host]:
    """A new network namespace."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        if not holder.stdout.readline():
            raise HostError("bench", "cannot make a network namespace; run it with `make bench`")
        yield Host(holder.pid)
    finally:
        stop(holder)
        holder.stdout.close()


@contextmanager
def cable(here: str, there: str, *, mac: int, offloads: bool, at: Host | None = None) -> Iterator[None]:
    """A veth pair that is up, on which Linux itself says nothing.

    Args:
        here: the end that stays in this namespace.
        there: the other end.
        mac: MAC address of the other end.
        offloads: whether segmentation and checksum offloads stay on.
        at: the host that the other end is moved to.
    """
    command("ip", "link", "add", here, "type", "veth", "peer", "name", there, "address", mac_text(mac))
    try:
        if at:
            command("ip", "link", "set", there, "netns", str(at.pid))
        for name, run in ((here, command), (there, at.command if at else command)):
            if Path("/proc/sys/net/ipv6").exists():
                run("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6")
            if not offloads:
                run("ethtool", "-K", name, *(word for kind in _OFFLOADS for word in (kind, "off")))
            run("ip", "link", "set", name, "up")
        yield
    finally:
        command("ip", "link", "del", here)


def mac_text(mac: int) -> str:
    """A MAC address as Linux's tools take it."""
    return mac.to_bytes(6, "big").hex(":")


def received_packets(interface: str) -> int:
    """The interface's own count of packets received."""
    return parse_received(Path("/proc/net/dev").read_text(), interface)


def parse_received(table: str, interface: str) -> int:
    """Packets received by an interface, from a text in the format of /proc/net/dev."""
    for line in table.splitlines():
        name, colon, counters = line.partition(":")
        if colon and name.strip() == interface:
            return int(counters.split()[1])
    raise HostError("bench", f"there is no interface {interface}")
