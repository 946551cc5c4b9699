"""All rows, in the order of the table, and choosing among them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from benchmarks.harness import Benchmark
from benchmarks.rows import (
    broken_by_add,
    broken_by_drain,
    broken_by_remove,
    controller_memory_mib,
    cookie_persistence_rps,
    failover_256_nodes_ms,
    failover_writes,
    generator_pps,
    idle_tls_conn_kib,
    latency_p50_ms,
    latency_p99_ms,
    map_65536_s,
    node_failover_ms,
    p4runtime_inserts_per_s,
    plan_65536x256_ms,
    scheduler_latency_us,
    scheduler_pps,
    scheduler_pps_flood,
    scheduler_tcp_gbps,
    store_get_p99_ms,
    store_sqlite_lookup_ms,
    ticket_persistence_hs,
    ticket_persistence_rps,
    tls12_full_hs,
    tls12_resumed_hs,
    tls13_full_hs,
    tls13_resumed_hs,
    tls_1m_gbps,
    tls_100k_gbps,
    tls_keepalive_rps,
)
from pentaflow.errors import ConfigurationError

BENCHMARKS: Sequence[Benchmark] = (
    generator_pps.BENCHMARK,
    scheduler_pps.BENCHMARK,
    scheduler_pps_flood.BENCHMARK,
    scheduler_tcp_gbps.BENCHMARK,
    scheduler_latency_us.BENCHMARK,
    p4runtime_inserts_per_s.BENCHMARK,
    map_65536_s.BENCHMARK,
    tls12_full_hs.BENCHMARK,
    tls13_full_hs.BENCHMARK,
    tls12_resumed_hs.BENCHMARK,
    tls13_resumed_hs.BENCHMARK,
    tls_keepalive_rps.BENCHMARK,
    tls_100k_gbps.BENCHMARK,
    tls_1m_gbps.BENCHMARK,
    latency_p50_ms.BENCHMARK,
    latency_p99_ms.BENCHMARK,
    idle_tls_conn_kib.BENCHMARK,
    cookie_persistence_rps.BENCHMARK,
    ticket_persistence_rps.BENCHMARK,
    ticket_persistence_hs.BENCHMARK,
    store_get_p99_ms.BENCHMARK,
    store_sqlite_lookup_ms.BENCHMARK,
    node_failover_ms.BENCHMARK,
    failover_256_nodes_ms.BENCHMARK,
    plan_65536x256_ms.BENCHMARK,
    failover_writes.BENCHMARK,
    controller_memory_mib.BENCHMARK,
    broken_by_add.BENCHMARK,
    broken_by_drain.BENCHMARK,
    broken_by_remove.BENCHMARK,
)


def chosen(only: str) -> list[Benchmark]:
    """The rows that a list of names separated by commas asks for, all if it is empty; in the table's order.

    Raises:
        ConfigurationError: there is no row of a name.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [benchmark.name for benchmark in BENCHMARKS]
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected some of {', '.join(known)}"
            raise ConfigurationError("ONLY", f"there is no benchmark {name!r}; {hint}")
    return [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]
