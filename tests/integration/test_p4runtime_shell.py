"""A session of a stock p4runtime-shell, in its own environment, against the softswitch."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.p4rt import CPU_PORT, DEVICE_ID, PROGRAM, running_softswitch

REPOSITORY = Path(__file__).parents[2]
SESSION_S = 60.0

# What a user would type, with the answers as JSON on the last line.
SESSION = """
import json, sys
import p4runtime_sh.shell as sh

address, device_id, cpu_port, p4info, program = sys.argv[1:]
sh.setup(int(device_id), address, (0, 1), config=sh.FwdPipeConfig(p4info, program), verbose=False)
seen = {"version": str(sh.APIVersion())}

def entries():
    return [(e.match["dst"].exact.value.hex(), e.action["port"].value.hex()) for e in sh.TableEntry("exact_one").read()]

def refused(act):
    try:
        act()
    except Exception as error:
        return str(error)

entry = sh.TableEntry("exact_one")(action="forward")
entry.match["dst"] = "00:00:00:00:00:01"
entry.action["port"] = "7"
entry.insert()
seen["inserted"] = entries()
seen["inserted twice"] = refused(entry.insert)
entry.action["port"] = cpu_port
entry.modify()
seen["modified"] = entries()

cell = sh.CounterEntry("seen")
cell.index, cell.packet_count, cell.byte_count = 3, 11, 12
cell.modify()
seen["counters"] = [[c.index, c.packet_count, c.byte_count] for c in sh.CounterEntry("seen").read()]

group = sh.MulticastGroupEntry(4)
group.add(1, 1).add(2, 1)
group.insert()
seen["group"] = [[r.egress_port, r.instance] for g in sh.MulticastGroupEntry(4).read() for r in g.replicas]
group.delete()

packets = sh.PacketIn()
payload = bytes.fromhex("000000000001 000000000002 1234") + b"hello"
sh.PacketOut(payload, egress_port="1", pad="0", act="3").send()
packet = packets.packet_in_queue.get(timeout=20).packet
seen["packet in"] = packet.payload.hex()
direct = sh.DirectCounterEntry("exact_hits")
direct.table_entry.match["dst"] = "00:00:00:00:00:01"
seen["direct counter"] = [c.packet_count for c in direct.read()]

entry.delete()
seen["deleted"] = entries()
seen["deleted twice"] = refused(entry.delete)
sh.teardown()
print(json.dumps(seen))
"""


@pytest.fixture(scope="session")
def shell_python() -> Path:
    """The interpreter of an environment with p4runtime-shell, made once and kept in build/."""
    made = subprocess.run([REPOSITORY / "scripts/p4runtime-shell"], capture_output=True, text=True, check=False)
    if made.returncode:
        lines = made.stderr.strip().splitlines() or ["no reason given"]
        pytest.skip(f"p4runtime-shell can't be installed: {lines[-1]}")
    return REPOSITORY / "build/p4runtime-shell/bin/python"


async def test_a_session_of_p4runtime_shell(shell_python: Path) -> None:
    async with running_softswitch({}) as target:
        arguments = (
            target.address,
            DEVICE_ID,
            CPU_PORT,
            *(PROGRAM / f"conformance.{e}" for e in ("p4info.txtpb", "json")),
        )
        process = await asyncio.create_subprocess_exec(
            shell_python, "-c", SESSION, *map(str, arguments),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(SESSION_S):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert "ALREADY_EXISTS" in seen.pop("inserted twice")
    assert "NOT_FOUND" in seen.pop("deleted twice")
    assert seen == {
        "version": "1.5.0",
        "inserted": [["01", "07"]],
        "modified": [["01", "01fe"]],
        "counters": [[index, 11, 12] if index == 3 else [index, 0, 0] for index in range(8)],
        "group": [[1, 1], [2, 1]],
        "packet in": bytes.fromhex("000000000001 000000000002 1234").hex() + b"hello".hex(),
        "direct counter": [1],
        "deleted": [],
    }
