"""An array of many nodes: the softswitch and the controller are processes, the nodes one responder on one interface."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from benchmarks.network import cable, free_port, stop, wait_until
from benchmarks.targets import Target, running
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.demo.certificates import make_certificates

PORT = 1
_FIRST_MAC = 0x02_00_00_00_01_00
_ETH_P_ALL = 3
_RECEIVE_BYTES = 4 << 20


class Nodes:
    """Answers every SYN that comes to one of many MAC addresses, except that of a node that is dead."""

    def __init__(self, interface: str, count: int) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        self._socket.bind((interface, 0))
        self._alive = {mac_of(node) for node in range(1, count + 1)}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def kill(self, node: int) -> int:
        """Let a node die; returns the monotonic clock in nanoseconds."""
        self._alive.remove(mac_of(node))
        return time.monotonic_ns()

    def _run(self) -> None:
        try:
            while frame := self._socket.recv(2048):
                syn = maybe_decode_segment(frame)
                if syn is None or syn.flags != TcpFlags.SYN or syn.dst_mac not in self._alive:
                    continue
                self._socket.send(encode_segment(answer_to(syn)))
        except OSError:
            return  # the socket was closed


def mac_of(node: int) -> int:
    """The MAC address of a node by its id."""
    return _FIRST_MAC + node


def answer_to(syn: Segment) -> Segment:
    """The SYN-ACK of a listening node."""
    return Segment(
        src_mac=syn.dst_mac,
        dst_mac=syn.src_mac,
        src=syn.dst,
        dst=syn.src,
        src_port=syn.dst_port,
        dst_port=syn.src_port,
        seq=1,
        ack=(syn.seq + 1) & 0xFFFF_FFFF,
        flags=TcpFlags.SYN | TcpFlags.ACK,
    )


class Controller:
    """The controller's REST API."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self._url = f"http://{address}"
        self.process = process

    def maybe_get(self, path: str) -> Any:
        """What is there; None: it does not answer."""
        try:
            return httpx.get(self._url + path, timeout=5.0, trust_env=False).json()
        except httpx.HTTPError:
            return None

    def is_ready(self) -> bool:
        """Whether the switch holds everything and every node is up."""
        health = self.maybe_get("/health")
        return bool(health and health["ready"] and set(health["nodes"].values()) == {"up"})

    def events(self, kind: str) -> list[Any]:
        """The events of a kind that are kept, oldest first."""
        return [event for event in self.maybe_get("/events") or () if event["kind"] == kind]


@contextmanager
def array(nodes: int, buckets: int, health: dict[str, Any]) -> Iterator[tuple[Controller, Nodes]]:
    """The whole array, with every node up.

    Args:
        nodes: how many.
        buckets: of its one vserver.
        health: the configuration's `controller.health`.
    """
    # Every node has an address of its own on the far side of the same cable, so it needs no offloads.
    with (
        cable("s1", "nodes", mac=_FIRST_MAC, offloads=False),
        running(Target.SOFTSWITCH, {PORT: "s1"}) as device,
        Nodes("nodes", nodes) as responder,
        tempfile.TemporaryDirectory() as folder,
    ):
        rest = f"127.0.0.1:{free_port()}"
        configuration = document(device.address, rest, nodes, buckets, health)
        path = Path(folder) / "array.yaml"
        path.write_text(json.dumps(configuration))
        certificates = make_certificates(["www.pentaflow.test"])
        (path.parent / "web.pem").write_bytes(certificates.chain)
        (path.parent / "web.key").write_bytes(certificates.key)
        command = [sys.executable, "-m", "pentaflow", "--log-level", "error", "controller", str(path)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            controller = Controller(rest, process)
            wait_until("every node is up", controller.is_ready)
            yield controller, responder
        finally:
            stop(process)


def document(grpc: str, rest: str, nodes: int, buckets: int, health: dict[str, Any]) -> dict[str, Any]:
    """The configuration, with one vserver and one switch; the rest as for `array`."""
    return {
        "controller": {"rest": rest, "health": health},
        "switches": [{"name": "s1", "grpc": grpc, "ports": [PORT], "probe_address": "10.0.0.254"}],
        "nodes": [
            {
                "name": f"n{i}",
                "id": i,
                "mac": mac_of(i).to_bytes(6, "big").hex(":"),
                "ports": {"s1": PORT},
                "management": f"10.1.{i >> 8}.{i & 255}:9100",
            }
            for i in range(1, nodes + 1)
        ],
        "vservers": [
            {
                "name": "web",
                "id": 1,
                "vip": "10.0.0.100",
                "buckets": buckets,
                "tls": {"certificate": "web.pem", "key": "web.key"},
                "pool": "servers",
            }
        ],
        "pools": [{"name": "servers", "servers": [{"name": "w1", "id": 1, "address": "10.0.0.31:80"}]}],
    }
