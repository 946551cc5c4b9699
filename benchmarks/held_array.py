"""`python -m benchmarks.held_array N`: hold N vservers as a controller does, with one switch that has got everything,
and print the most memory that this process ever had, in KiB.
"""

from __future__ import annotations

import resource
import sys
from ipaddress import IPv4Address
from pathlib import Path

from controller.core import Core
from controller.diff import diff
from controller.events import EventLog
from pentaflow.config import (
    Configuration,
    HostPort,
    Node,
    Pool,
    Server,
    Switch,
    Vserver,
    VserverTls,
    format_mac,
)

BUCKETS = 4096
NODES = 256
_FIRST_VIP = IPv4Address("10.1.0.0")
_FIRST_MAC = 0x02_00_00_00_00_00
_SWITCH = "s1"


def configuration(vservers: int) -> Configuration:
    """An array of 256 nodes and one switch."""
    anywhere = HostPort(host="127.0.0.1", port=1)
    nodes = [
        Node(name=f"n{i}", id=i, mac=format_mac(_FIRST_MAC + i), ports={_SWITCH: 1}, management=anywhere)
        for i in range(1, NODES + 1)
    ]
    tls = VserverTls(certificate=Path("web.pem"), key=Path("web.key"))
    return Configuration(
        switches=(Switch(name=_SWITCH, grpc=anywhere, ports=(1,), probe_address=IPv4Address("10.0.0.254")),),
        nodes=tuple(nodes),
        vservers=tuple(
            Vserver(name=f"v{i}", id=i, vip=_FIRST_VIP + i, buckets=BUCKETS, tls=tls, pool="servers")
            for i in range(1, vservers + 1)
        ),
        pools=(Pool(name="servers", servers=(Server(name="w1", id=1, address=anywhere),)),),
    )


def hold(vservers: int) -> Core:
    """A controller's core after an empty switch has been given everything, and what it has; checks that it is all."""
    core = Core(
        configuration(vservers),
        random_hash_keys=dict.fromkeys(range(1, vservers + 1), 1),
        station_capacity=1,
        transit_cells=65_536,
        events=EventLog(epoch_offset_ns=0, listener=lambda _: None),
        now_ns=0,
    )
    actual = core.assignment.new_actual()
    for batch in core.reconcile(_SWITCH, actual, 0):
        for update in diff(batch, lambda key: core.maybe_entry(_SWITCH, key), actual):
            if update.entry:
                actual[update.key] = update.entry
    if any(core.reconcile(_SWITCH, actual, 0)):
        raise AssertionError("the switch lacks entries that it was given")
    return core


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
