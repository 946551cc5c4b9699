"""VIPs on the loopback [N9]: put there, taken off, and nobody else's touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

A, B, C, V6 = "192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::10"

pytestmark = pytest.mark.root


def inside(code: str) -> Any:
    """What Python code that ends with `say(…)` says in a network namespace of its own."""
    head = (
        "import json, subprocess\n"
        "from ipaddress import ip_address as ip\n"
        "from pathlib import Path\n"
        "from tlsnodes.vips import LoopbackVips\n"
        "def say(what): print(json.dumps(what))\n"
        "def run(*words): return subprocess.run(words, check=True, capture_output=True, text=True).stdout\n"
        "def held(): return sorted(a['local'] for row in json.loads(run('ip', '-j', 'address', 'show', 'dev', 'lo'))"
        " for a in row['addr_info'] if a['local'] not in ('127.0.0.1', '::1'))\n"
        "def sysctls(): return [int(Path(f'/proc/sys/net/ipv4/conf/all/{n}').read_text())"
        " for n in ('arp_ignore', 'arp_announce')]\n"
        "run('ip', 'link', 'set', 'lo', 'up')\n"
    )
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", head + code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    return json.loads(done.stdout)


def test_they_come_and_go_with_the_arp_settings() -> None:
    said = inside(
        f"vips = LoopbackVips(7)\nseen = [sysctls()]\n"
        f"vips.hold({{ip('{A}'), ip('{B}'), ip('{V6}')}})\nseen += [held(), sysctls()]\n"
        f"vips.hold({{ip('{A}'), ip('{C}')}})\nvips.keep_only({{ip('{A}'), ip('{C}')}})\nseen += [held()]\n"
        "vips.keep_only(set())\nseen += [held()]\nsay(seen)"
    )
    assert said == [[0, 0], [A, B, V6], [1, 2], [A, C], []]


def test_what_others_have_put_there_stays_and_what_a_killed_node_left_goes() -> None:
    said = inside(
        f"run('ip', 'address', 'add', '{A}/32', 'dev', 'lo')\n"
        f"LoopbackVips(8).hold({{ip('{B}')}})\nLoopbackVips(7).hold({{ip('{C}')}})\n"
        f"again = LoopbackVips(7)\nagain.hold({{ip('{A}')}})\nseen = [held()]\n"
        f"again.keep_only({{ip('{A}')}})\nseen += [held()]\nagain.keep_only(set())\nsay([*seen, held()])"
    )
    assert said == [[A, B, C], [A, B], [A, B]]


def test_loopback_addresses_need_nothing() -> None:
    said = inside("LoopbackVips(7).hold({ip('127.0.0.5'), ip('::1')})\nsay([held(), sysctls()])")
    assert said == [[], [0, 0]]


def test_without_the_privilege_it_says_what_is_needed() -> None:
    said = inside(
        "import os\nfrom pentaflow.errors import HostError\n"
        "vips = LoopbackVips(7)\nos.setresuid(65534, 65534, 65534)\n"
        f"try:\n    vips.hold({{ip('{A}')}})\nexcept HostError as error:\n    say(str(error))"
    )
    assert "needs CAP_NET_ADMIN, or `--vips external`" in said
