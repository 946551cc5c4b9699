"""What single rows read and compute, and the list of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import large_map, machine, many_nodes, vip
from benchmarks.catalogue import BENCHMARKS, chosen
from benchmarks.figures import Figure, as_markdown
from benchmarks.harness import QUICK
from benchmarks.network import parse_received
from benchmarks.record import with_table
from benchmarks.rows import controller_memory_mib, failover_256_nodes_ms, failover_writes, plan_65536x256_ms
from benchmarks.rows.node_failover_ms import last_failure_ms
from benchmarks.rows.scheduler_tcp_gbps import bits_per_s
from benchmarks.targets import Target
from benchmarks.traffic import SETTINGS, client_frames
from controller.entries import Kind
from controller.prober import Prober
from controller.tcp_probe import TcpFlags, maybe_decode_segment
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError, HostError
from support.targets import REPOSITORY

IPERF = "19700101000000,10.0.0.1,43588,10.0.0.100,5001,2,0.0-2.1,5374012,20000000\n"
DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0
  node: 6000000  100000    0    0    0     0          0         0        0       0    0    0    0     0       0
"""


def test_every_row_is_chosen_unless_some_are_named() -> None:
    assert chosen("") == list(BENCHMARKS)
    assert [b.name for b in chosen("map_65536_s, scheduler_pps")] == ["scheduler_pps", "map_65536_s"]


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("scheduler_pp", "ONLY: there is no benchmark 'scheduler_pp'; did you mean scheduler_pps?"),
        ("zzz", "ONLY: there is no benchmark 'zzz'; expected some of generator_pps, "),
    ],
)
def test_a_name_that_is_none_is_refused(only: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        chosen(only)
    assert str(refusal.value).startswith(message)


def test_iperf_reports_one_line_for_each_connection() -> None:
    assert bits_per_s(IPERF) == 20e6
    assert bits_per_s(IPERF * 4) == 80e6


def test_a_sum_that_iperf_adds_is_not_counted_again() -> None:
    assert bits_per_s(IPERF * 2 + IPERF.replace(",2,", ",-1,").replace("20000000", "40000000")) == 40e6


def test_packets_received_are_the_interface_s_own_count() -> None:
    assert parse_received(DEV, "node") == 100_000
    with pytest.raises(HostError, match="there is no interface nod"):
        parse_received(DEV, "nod")


def demo_report(**changes: object) -> dict[str, Any]:
    return {"held": True, "problems": [], "node_failure": {"last_failure_ms": 216.2}} | changes


def test_the_last_failure_is_the_demo_s() -> None:
    assert last_failure_ms(demo_report()) == 216.2


def test_a_demo_that_does_not_hold_gives_no_figure() -> None:
    with pytest.raises(HostError, match="the demo did not hold: n2 stayed up"):
        last_failure_ms(demo_report(held=False, problems=["n2 stayed up"], node_failure=None))


def test_a_node_s_failure_takes_as_many_updates_as_it_has_slots() -> None:
    assert list(failover_writes.sample(QUICK).values()) == [16]


def test_plans_are_timed() -> None:
    figures = plan_65536x256_ms.sample(QUICK)
    assert len(figures) == 5
    assert all(value > 0 for value in figures.values())


def test_a_controller_s_memory_is_that_of_a_process_of_its_own() -> None:
    (mebibytes,) = controller_memory_mib.sample(replace(QUICK, scale=0.002)).values()
    assert 10 < mebibytes < 1024


def test_many_nodes_are_probed_as_often_as_the_row_says_and_answer() -> None:
    nodes, health = len(large_map.NODES), failover_256_nodes_ms.HEALTH
    configuration = Configuration.model_validate(
        many_nodes.document("127.0.0.1:1", "127.0.0.1:2", nodes, large_map.BUCKETS, health)
    )
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    assert prober.interval_ns == failover_256_nodes_ms.INTERVAL_MS * 1_000_000
    syn = maybe_decode_segment(prober.run(0)[0][0].frame)
    assert syn is not None
    assert syn.dst_mac == many_nodes.mac_of(large_map.NODES[0])
    answer = many_nodes.answer_to(syn)
    assert (answer.src, answer.src_port, answer.ack) == (syn.dst, syn.dst_port, syn.seq + 1)
    assert answer.flags == TcpFlags.SYN | TcpFlags.ACK


def test_one_packet_of_every_flow() -> None:
    for flags in SETTINGS.values():
        frames = client_frames(flags)
        assert len(set(frames)) == len(frames) == 1024


def test_every_bucket_of_the_vserver_leads_to_the_node() -> None:
    entries = vip.scheduler_entries()
    slots = {key.match[0] for key in entries if key.kind is Kind.SLOT}
    buckets = [entry.params[0] for key, entry in entries.items() if key.kind is Kind.BUCKET]
    assert len(buckets) == vip.BUCKETS
    assert set(buckets) == slots


def test_targets_get_the_same_ports_and_address() -> None:
    interfaces = {1: "s1", 2: "s2"}
    softswitch = Target.SOFTSWITCH.command("127.0.0.1:9559", interfaces)
    bmv2 = Target.BMV2.command("127.0.0.1:9559", interfaces)
    assert {"1=s1", "2=s2", "127.0.0.1:9559"} <= set(softswitch)
    assert {"1@s1", "2@s2", "127.0.0.1:9559"} <= set(bmv2)


def test_the_processor_s_name() -> None:
    assert machine.processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert machine.processor("processor\t: 0\n")


def test_the_table_goes_between_its_marks() -> None:
    page = "a\n<!-- table: begin -->\nold\n<!-- table: end -->\nb\n"
    once = with_table(page, "new\n")
    assert once == "a\n<!-- table: begin -->\n\nnew\n\n<!-- table: end -->\nb\n"
    assert with_table(once, "new\n") == once
    with pytest.raises(ValueError, match="no marks"):
        with_table("a\n", "new\n")


def test_the_docs_explain_every_row_and_show_the_kept_run() -> None:
    page = (REPOSITORY / "docs/benchmarks.md").read_text()
    for benchmark in BENCHMARKS:
        assert f"| `{benchmark.name}` | " in page.partition("## What is measured")[2]
    record = json.loads((REPOSITORY / "docs/bench.json").read_text())
    figures = [Figure(**figure) for figure in record["figures"]]
    assert as_markdown(figures, record["machine"]) in page
