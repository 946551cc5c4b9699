"""`make bench`, short: rows through a real switch, in a sandbox; and what it says when it cannot run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.frames import SYN
from benchmarks.generator import BATCH, Generator
from benchmarks.harness import Profile
from benchmarks.rows import store_get_p99_ms, store_sqlite_lookup_ms
from benchmarks.traffic import client_frames
from pentaflow.sandbox import ENTER
from support.targets import REPOSITORY, laid_cable

BENCH = (sys.executable, "-m", "benchmarks")
TIMEOUT_S = 100.0


def bench(output: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [*ENTER, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *BENCH, "--output", str(output), *arguments]
    environment = None if path is None else {"PATH": path}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def figures_of(output: Path) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = json.loads(output.read_text())
    return figures


@pytest.mark.root
def test_packets_tcp_and_inserts_are_measured_with_the_peer_that_is_there(tmp_path: Path) -> None:
    output = tmp_path / "new" / "bench.json"
    rows = ["scheduler_pps_flood", "p4runtime_inserts_per_s", "scheduler_latency_us"]
    done = bench(output, "--quick", "--only", ",".join(rows))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = figures_of(output)
    assert {figure["name"] for figure in figures} == set(rows)
    assert all(figure["value"] > 0 for figure in figures if figure["name"] != "scheduler_latency_us")
    peer = "simple_switch_grpc" if shutil.which("simple_switch_grpc") else None
    assert {figure["peer"] for figure in figures} == {peer}


@pytest.mark.root
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed; `make bench` installs it")
def test_the_node_is_measured_beside_the_proxies_that_are_there(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    rows = ["tls13_resumed_hs", "latency_p99_ms", "idle_tls_conn_kib"]
    done = bench(output, "--quick", "--only", ",".join(rows))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = figures_of(output)
    assert {figure["name"] for figure in figures} == set(rows)
    peers = {name for name in ("haproxy", "nginx") if shutil.which(name)}
    assert {figure["peer"] for figure in figures} == peers
    assert all(figure["value"] > 0 and figure["peer_value"] > 0 for figure in figures)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_reads_of_both_stores_are_timed() -> None:
    short = Profile(alternations=1, seconds=0.1, scale=0.001)
    assert store_get_p99_ms.sample(short).keys() == {"1 at once", "8 at once"}
    found = store_sqlite_lookup_ms.sample(short)
    assert 0 < found["1,000 records, half"] <= found["1,000 records, 99 of 100"]


@pytest.mark.root
def test_the_generator_sends_its_frames_in_turn_at_the_rate_that_is_asked_for() -> None:
    frames = client_frames(SYN)[: 2 * BATCH]
    with laid_cable("bench0", "bench1") as cable, closing(Generator("bench0", frames)) as generator:
        for _ in range(2):
            sent = generator.send(rate_pps=2000, seconds=0.05)
            assert 0 < sent <= 100
            for _ in range(sent):
                assert cable.receive() == frames[0]
                frames = [*frames[1:], frames[0]]


@pytest.mark.root
def test_a_row_that_cannot_be_measured_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "ip", "ss", "unshare", "nsenter", "sleep", "setpriv"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    output = tmp_path / "bench.json"
    done = bench(output, "--quick", "--only", "scheduler_tcp_gbps,failover_writes", path=str(tools))
    assert done.returncode == 1
    assert "scheduler_tcp_gbps: not measured: bench: " in done.stdout
    assert [figure["name"] for figure in figures_of(output)] == ["failover_writes"]


def test_outside_a_sandbox_it_makes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    done = subprocess.run(
        [*BENCH, "--output", str(output)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "run `make bench`" in done.stderr
    assert not output.exists()


def test_a_short_run_is_not_kept(tmp_path: Path) -> None:
    command = [*BENCH, "--quick", "--keep", "--output", str(tmp_path / "bench.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "only a full run is kept" in done.stderr
