"""Mininet hosts, switches and topologies of Pentaflow [O7].

    mn --custom mininet/pentaflow_mn.py --topo pentaflow,inline --controller none

starts the declared topology `inline` with everything running: nginx, TLS nodes, controller and softswitch;
`--topo pentaflow,inline,bmv2` takes `simple_switch_grpc`. Certificates, configuration and logs are under
`build/mininet/`. `pentaflow demo` builds on the same classes, inside a sandbox.

Every host and switch is in a network namespace of its own, and every sysctl is set in one. A service is one process
in its host's namespace, stopped by its pid.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Interface
from pathlib import Path
from typing import Any

from mininet.node import Host as MininetHost
from mininet.node import Switch as MininetSwitch
from mininet.topo import Topo

from pentaflow.demo.files import Files, prepare
from pentaflow.errors import HostError
from topologies import model
from topologies.catalogue import TOPOLOGIES

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (Linux include/net/tcp_states.h)


def listens(table: str, port: int) -> bool:
    """Whether a text in the format of /proc/net/tcp shows a socket that listens on `port`."""
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port for row in rows)


class Service:
    """One process of a Mininet node, in its namespaces; what it prints is appended to `log`.

    Args:
        node: the Mininet node whose namespaces it runs in.
        argv: the command.
        port: TCP port that it listens on once it is up.
        log: file for its standard output and error.
    """

    def __init__(self, node: Any, argv: Sequence[str], *, port: int, log: Path) -> None:
        self.node, self.argv, self.port, self.log = node, list(argv), port, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Pid of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; `wait_listening` tells when it is up."""
        with self.log.open("ab") as log:
            self._process = self.node.popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            HostError: it has ended; with its status and the last line of its log.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            status = self._process.returncode
            raise HostError(self.node.name, f"{self._name} ended with status {status}: {self._said}")

    def wait_listening(self) -> None:
        """Wait until the port listens.

        Raises:
            HostError: the process ended, or the port did not listen in time; with the last line of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check()
            tables = (Path(f"/proc/{self.node.pid}/net/{name}") for name in ("tcp", "tcp6"))
            if any(listens(table.read_text(), self.port) for table in tables if table.exists()):
                return
            time.sleep(POLL_S)
        raise HostError(
            self.node.name,
            f"{self._name} does not listen on port {self.port} after {START_TIMEOUT_S:g} s: {self._said}",
        )

    @property
    def _name(self) -> str:
        return " ".join(self.argv[1:4] if self.argv[0] == sys.executable else self.argv[:1])

    @property
    def _said(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def terminate(self) -> None:
        """Ask the process to end; `stop` waits for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process: SIGTERM, after `STOP_TIMEOUT_S` SIGKILL."""
        self.terminate()
        if self._process is not None:
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """`kill -9` the process and those that it has started, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, which leads a session of its own, and to those that it has started."""
        os.killpg(self.pid, number)


def _quiet(node: Any) -> None:
    """No IPv6 in the namespace of a node, unless it gets an address: neighbour and router discovery is noise here."""
    for scope in ("all", "default"):
        node.cmd(f"echo 1 > /proc/sys/net/ipv6/conf/{scope}/disable_ipv6")


def _pentaflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pentaflow", *arguments]


class ServiceHost(MininetHost):  # type: ignore[misc]  # Mininet is untyped
    """A host with one service."""

    service: Service | None = None
    #: Whether the service starts when the host is configured; if not, something else starts it.
    starts_at_once = True

    def config(self, **params: Any) -> dict[str, Any]:
        """Configure the interface, make the service and start it."""
        result: dict[str, Any] = super().config(**params)
        _quiet(self)
        if address := params.get("address_v6"):
            self._add_ipv6(address)
        self.service = self.maybe_service(params)
        if self.service and self.starts_at_once:
            self.service.start()
        return result

    def _add_ipv6(self, address: IPv6Interface) -> None:
        """IPv6 on the loopback and the LAN, at once: nobody here has the same address, and nobody is a router."""
        lan = self.defaultIntf().name
        for setting in ("accept_dad", "accept_ra", "disable_ipv6"):
            for interface in (lan, "lo"):
                self.cmd(f"echo 0 > /proc/sys/net/ipv6/conf/{interface}/{setting}")
        self.cmd(f"ip address add {address} dev {lan} nodad")

    def maybe_service(self, params: Mapping[str, Any]) -> Service | None:
        """The service, not started; `params` are those of the host in its topology."""
        raise NotImplementedError

    def terminate(self) -> None:
        """Stop the service and the host."""
        if self.service:
            self.service.stop()
        super().terminate()


class ClientHost(ServiceHost):
    """A client: nothing runs on it but what is asked for."""

    def maybe_service(self, params: Mapping[str, Any]) -> Service | None:
        """None."""
        return None


class ControllerHost(ServiceHost):
    """Runs `pentaflow controller`, started by the management network when all else is up."""

    starts_at_once = False

    def maybe_service(self, params: Mapping[str, Any]) -> Service:
        """The controller."""
        files: Files = params["files"]
        argv = _pentaflow("controller", str(files.configuration))
        return Service(self, argv, port=model.REST_PORT, log=files.log(self.name))


class TlsNodeHost(ServiceHost):
    """Runs `pentaflow node`; holds the VIPs on its loopback and never answers ARP for them."""

    def maybe_service(self, params: Mapping[str, Any]) -> Service:
        """The TLS node; the loopback is set up here."""
        files: Files = params["files"]
        # Linux answers ARP for every address it holds, on any interface: on the LAN the VIP is the scheduler's.
        self.cmd("echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore")
        self.cmd("echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce")
        for vip in params["vips"]:
            self.cmd(f"ip address add {vip}/{vip.max_prefixlen} dev lo")
        argv = _pentaflow("node", str(files.configuration), self.name, "--workers", "1", "--vips", "external")
        return Service(self, argv, port=model.NODE_STATUS_PORT, log=files.log(self.name))


class ServerHost(ServiceHost):
    """Runs nginx as a back-end web server."""

    def maybe_service(self, params: Mapping[str, Any]) -> Service:
        """nginx on its own prefix, with its own configuration; the distribution's service is left alone."""
        files: Files = params["files"]
        prefix = files.nginx_prefix(self.name)
        argv = ["nginx", "-e", str(prefix / "error.log"), "-p", str(prefix), "-c", str(prefix / "nginx.conf")]
        return Service(self, argv, port=model.SERVER_PORT, log=files.log(self.name))


class P4Switch(MininetSwitch):  # type: ignore[misc]  # Mininet is untyped
    """A P4Runtime target in a namespace of its own; port 0 is its management interface, the others its data ports."""

    #: Whether segmentation and checksum offloads of the veths may stay on.
    offloads = True

    def __init__(self, name: str, *, files: Files, device_id: int, grpc: IPv4Address, **params: Any) -> None:
        super().__init__(name, **params | {"inNamespace": True})
        self.controlIntf = None
        self.service = Service(self, [], port=model.GRPC_PORT, log=files.log(name))
        self.device_id = device_id
        self.grpc = f"{grpc}:{model.GRPC_PORT}"

    def command(self, ports: dict[int, str]) -> list[str]:
        """The target's command line for its data ports (number → interface)."""
        raise NotImplementedError

    def start(self, _controllers: object) -> None:
        """Start the target and wait until it takes P4Runtime connections.

        Raises:
            HostError: it does not come up.
        """
        self.cmd("ip link set lo up")
        _quiet(self)
        data = {port: intf for port, intf in self.intfs.items() if port != 0}
        if not self.offloads:
            for intf in data.values():
                for end in (intf.link.intf1, intf.link.intf2):
                    end.node.cmd(f"ethtool -K {end.name} rx off tx off tso off gso off gro off")
        self.service.argv = self.command({port: intf.name for port, intf in data.items()})
        self.service.start()
        self.service.wait_listening()

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's name
        """Stop the target."""
        self.service.stop()
        super().stop(deleteIntfs)


class SoftSwitch(P4Switch):
    """`pentaflow switch`."""

    def command(self, ports: dict[int, str]) -> list[str]:
        """See `pentaflow switch --help`."""
        named = [argument for port, name in ports.items() for argument in ("--port", f"{port}={name}")]
        options = ["--grpc", self.grpc, "--device-id", str(self.device_id), "--cpu-port", str(model.CPU_PORT)]
        return _pentaflow("switch", *options, *named)


class Bmv2Switch(P4Switch):
    """`simple_switch_grpc`. It knows no virtio headers, so offloads are off at both ends of its links."""

    offloads = False

    def command(self, ports: dict[int, str]) -> list[str]:
        """Started without a pipeline: the controller pushes it."""
        named = [argument for port, name in ports.items() for argument in ("-i", f"{port}@{name}")]
        target = ["--grpc-server-addr", self.grpc, "--cpu-port", str(model.CPU_PORT)]
        return ["simple_switch_grpc", "--no-p4", "--device-id", str(self.device_id), *named, "--", *target]


class BridgeSwitch(MininetSwitch):  # type: ignore[misc]  # Mininet is untyped
    """A LAN switch: a learning Linux bridge in a namespace of its own."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params | {"inNamespace": True})
        self.controlIntf = None

    def start(self, _controllers: object) -> None:
        """Plug everything in."""
        _quiet(self)
        self.cmd("ip link add br0 type bridge")
        for name in self.intfNames():
            self.cmd(f"ip link set {name} up master br0")
        self.cmd("ip link set br0 up")


class ManagementSwitch(BridgeSwitch):
    """The management network; started last, see `MANAGEMENT_SWITCH`."""

    def start(self, controllers: object) -> None:
        """Plug everything in, then start the controllers: one that came before the nodes would find them down."""
        super().start(controllers)
        ends = [end for intf in self.intfList() for end in (intf.link.intf1, intf.link.intf2)]
        neighbours = [end.node for end in ends if end.node is not self]
        for node in neighbours:
            if not isinstance(node, ControllerHost):
                node.service.wait_listening()
        for node in neighbours:
            if isinstance(node, ControllerHost) and node.service:
                node.service.start()


TARGETS: dict[str, type[P4Switch]] = {"softswitch": SoftSwitch, "bmv2": Bmv2Switch}
# Mininet starts switches in the order of their names; this one is to be the last.
MANAGEMENT_SWITCH = "x1"


class PentaflowTopo(Topo):  # type: ignore[misc]  # Mininet is untyped
    """A declared topology of `topologies/`, with everything that runs on it."""

    def build(self, name: str = "inline", switch: str = "softswitch", folder: str = "build/mininet") -> None:
        """Declare the nodes and links.

        Args:
            name: which topology.
            switch: the P4Runtime target: `softswitch` or `bmv2`.
            folder: where certificates, configuration, nginx prefixes and logs go; what is there is overwritten.
        """
        topology = TOPOLOGIES[name]
        files = prepare(topology, Path(folder).resolve())
        self.addSwitch(MANAGEMENT_SWITCH, cls=ManagementSwitch)
        controller = topology.controller
        self.addHost(controller.name, cls=ControllerHost, ip=str(controller.management), files=files)
        self.addLink(controller.name, MANAGEMENT_SWITCH)
        for s in topology.schedulers:
            self.addSwitch(s.name, cls=TARGETS[switch], files=files, device_id=s.device_id, grpc=s.management.ip)
            self.addLink(s.name, MANAGEMENT_SWITCH, port1=0, params1={"ip": str(s.management)})
        if topology.lan:
            self.addSwitch(topology.lan.name, cls=BridgeSwitch)
            for s in topology.schedulers:
                if s.uplink is not None:
                    self.addLink(s.name, topology.lan.name, port1=model.ARM, port2=s.uplink)
        for host in topology.hosts:
            self._add(topology, host, files)

    def _add(self, topology: model.Topology, host: model.Host, files: Files) -> None:
        address = {"ip": str(host.address), "mac": host.mac, "address_v6": host.address_v6}
        match host.role:
            case model.Role.CLIENT:
                self.addHost(host.name, cls=ClientHost, **address)
            case model.Role.NODE:
                self.addHost(host.name, cls=TlsNodeHost, files=files, vips=[v.vip for v in topology.vips], **address)
            case model.Role.SERVER:
                self.addHost(host.name, cls=ServerHost, files=files, **address)
        self.addLink(host.name, host.switch, port1=0, port2=host.port)
        if host.management:
            self.addLink(host.name, MANAGEMENT_SWITCH, port1=1, params1={"ip": str(host.management)})


# What `mn --custom` looks for; every other name here replaces one of its own, so none may be called like one of them.
topos = {"pentaflow": PentaflowTopo}
switches = TARGETS
