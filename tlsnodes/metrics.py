"""A node's status as Prometheus metrics [O6]: made of the status document when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tlsnodes.statistics import servers_by_pool

_PREFIX = "pentaflow_node"


def metrics_text(status: Mapping[str, Any]) -> bytes:
    """The text format of a node's status document."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(status))
    return generate_latest(registry)


class _NodeCollector(Collector):
    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        version = GaugeMetricFamily(f"{_PREFIX}_configuration_version", "The controller's version; 0: from a file.")
        version.add_metric((), self._status["configuration_version"])
        yield version
        yield from self._collect_workers()
        yield from self._collect_vservers()
        yield from self._collect_servers()
        if self._status["store"] is not None:
            yield from self._collect_store(self._status["store"])

    def _collect_workers(self) -> Iterator[Metric]:
        open_ = _gauge("worker_open_connections", "Connections that a worker has open.", "worker")
        cpu = _counter("worker_cpu_seconds", "CPU time of a worker since it was started.", "worker")
        restarts = _counter("worker_restarts", "How often a worker was started again.", "worker")
        lost = _counter("worker_access_log_lost", "Lines that the access log could not take.", "worker")
        for worker in self._status["workers"]:
            label = (str(worker["number"]),)
            open_.add_metric(label, worker["open_connections"])
            cpu.add_metric(label, worker["cpu_s"])
            restarts.add_metric(label, worker["restarts"])
            lost.add_metric(label, worker["access_log_lost"])
        yield from (open_, cpu, restarts, lost)

    def _collect_store(self, store: Mapping[str, Any]) -> Iterator[Metric]:
        away = _gauge("store_away", "1 while some worker goes on without the store.")
        away.add_metric((), store["away"])
        copies = _gauge("store_copies", "Copies of records that workers have.")
        copies.add_metric((), store["copies"])
        pending = _gauge("store_pending_writes", "Writes that wait for the store.")
        pending.add_metric((), store["pending"])
        reads = _counter("store_reads", "Reads: of a copy, found in the store, not there.", "result")
        for result in ("hits", "found", "missed"):
            reads.add_metric((result,), store[result])
        faults = _counter("store_faults", "Calls of the store that came to nothing.", "reason")
        for reason, count in store["faults"].items():
            faults.add_metric((reason,), count)
        dropped = _counter("store_dropped_writes", "Writes that were given up.")
        dropped.add_metric((), store["dropped"])
        answers = HistogramMetricFamily(f"{_PREFIX}_store_answer_seconds", "How long answers of the store took.")
        below, buckets = 0, []
        for bound_ms, count in store["answers_within_ms"].items():
            below += count
            buckets.append((str(float(bound_ms) / 1000), below))
        answers.add_metric((), [*buckets, ("+Inf", store["answers"])], store["answers_s"])
        yield from (away, copies, pending, reads, faults, dropped, answers)

    def _collect_vservers(self) -> Iterator[Metric]:
        open_ = _gauge("open_connections", "Connections of clients.", "vserver")
        connections = _counter("connections", "Connections that were accepted.", "vserver")
        requests = _counter("requests", "Requests.", "vserver")
        bad = _counter("bad_requests", "Requests that were refused as wrong.", "vserver")
        own = _counter("own_responses", "Responses by the node itself, no server's.", "vserver", "status")
        handshakes = _counter("tls_handshakes", "TLS handshakes.", "vserver", "kind")
        failed = _counter("tls_handshakes_failed", "TLS handshakes that failed.", "vserver", "reason")
        tickets = _counter("tls_tickets", "TLS tickets, by what became of them.", "vserver", "outcome")
        sessions = _counter("tls_session_ids", "TLS 1.2 sessions by id, by what became of them.", "vserver", "outcome")
        applications = _counter("session_ids", "Session ids of applications, by outcome.", "vserver", "outcome")
        chosen = _counter("chosen_servers", "Requests, by what their server was chosen by.", "vserver", "by")
        affinities = _counter(
            "affinities", "What came with clients to bind them, by what became of it.", "vserver", "outcome"
        )
        cookies = _counter("cookies_injected", "Cookies that were added to responses.", "vserver")
        for vserver in self._status["vservers"]:
            name = vserver["name"]
            open_.add_metric((name,), vserver["open_connections"])
            connections.add_metric((name,), vserver["connections"])
            requests.add_metric((name,), vserver["requests"])
            bad.add_metric((name,), vserver["bad_requests"])
            for status, count in vserver["own_responses"].items():
                own.add_metric((name, status), count)
            for kind in ("full", "resumed"):
                handshakes.add_metric((name, kind), vserver["tls_handshakes"][kind])
            for reason, count in vserver["tls_handshakes"]["failed"].items():
                failed.add_metric((name, reason), count)
            for outcome, count in vserver["tls_tickets"].items():
                tickets.add_metric((name, outcome), count)
            for outcome, count in vserver["tls_session_ids"].items():
                sessions.add_metric((name, outcome), count)
            for outcome, count in vserver["session_ids"].items():
                applications.add_metric((name, outcome), count)
            for by, count in vserver["chosen_by"].items():
                chosen.add_metric((name, by), count)
            outcomes = dict(vserver["persistence"])
            cookies.add_metric((name,), outcomes.pop("cookies_injected"))
            for outcome, count in outcomes.items():
                affinities.add_metric((name, outcome), count)
        yield from (open_, connections, requests, bad, own)
        yield from (handshakes, failed, tickets, sessions, applications, chosen, affinities, cookies)

    def _collect_servers(self) -> Iterator[Metric]:
        labels = ("vserver", "server", "pool")
        up = _gauge("server_up", "1 if some worker reaches the server.", *labels)
        open_ = _gauge("server_open_requests", "Requests in progress.", *labels)
        hits = _counter("server_requests", "Requests sent to a server.", *labels)
        failed = _counter("server_failures", "Connects that failed and requests without a proper response.", *labels)
        average = _gauge("server_average_response_seconds", "Average response time.", *labels)
        rows = [
            (vserver["name"], pool, server)
            for vserver in self._status["vservers"]
            for pool, servers in servers_by_pool(vserver)
            for server in servers
        ]
        for vserver, pool, server in rows:
            label = (vserver, server["name"], pool)
            up.add_metric(label, server["up"])
            open_.add_metric(label, server["open"])
            hits.add_metric(label, server["hits"])
            failed.add_metric(label, server["failed"])
            if server["average_response_ms"] is not None:
                average.add_metric(label, server["average_response_ms"] / 1000)
        yield from (up, open_, hits, failed, average)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
