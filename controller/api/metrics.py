"""Prometheus metrics of the controller: read where they are when they are asked for [O6]."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from controller.api.access import Viewer
from controller.buckets import UNASSIGNED
from controller.health import Health
from controller.on_demand import Fate
from controller.running import Running
from controller.session_ids.allocation import Stage
from controller.southbound import SessionState
from pentaflow.modes import NodeKind
from pentaflow.ticket_keys import KeyState

_PREFIX = "pentaflow_controller"

router = APIRouter(tags=["state"])


class ControllerCollector(Collector):
    """Collects from a running controller, on its event loop."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        yield from self._collect_nodes()
        yield from self._collect_switches()
        yield from self._collect_map()
        yield from self._collect_ticket_keys()
        yield from self._collect_session_ids()
        core = self._running.core
        yield _gauge("configuration_version", "The version in force.", self._running.operations.in_force.number)
        yield _gauge("alarms", "Alarms that are active.", len(core.alarms()))
        events = CounterMetricFamily(f"{_PREFIX}_events", "Events, by kind.", labels=("kind",))
        for kind, count in core.events.counts.items():
            events.add_metric((kind,), count)
        yield events

    def _collect_nodes(self) -> Iterator[Metric]:
        core = self._running.core
        up = GaugeMetricFamily(f"{_PREFIX}_node_up", "1: up, 0: down or unknown.", labels=("node",))
        weight = GaugeMetricFamily(f"{_PREFIX}_node_weight", "Configured weight.", labels=("node",))
        held = GaugeMetricFamily(f"{_PREFIX}_node_buckets", "Buckets of all vservers.", labels=("node",))
        intent = GaugeMetricFamily(f"{_PREFIX}_node_intent", "1 for what is intended.", labels=("node", "intent"))
        loads = core.map.node_loads()
        for node in core.configuration.nodes:
            up.add_metric((node.name,), core.health[node.id].state is Health.UP)
            weight.add_metric((node.name,), node.weight)
            held.add_metric((node.name,), loads[node.id])
            intent.add_metric((node.name, core.availability.intents.of(node.id).state), 1)
        yield from (up, weight, held, intent)

    def _collect_switches(self) -> Iterator[Metric]:
        core = self._running.core
        ready = GaugeMetricFamily(f"{_PREFIX}_switch_ready", "1: as it should be.", labels=("switch",))
        active = GaugeMetricFamily(f"{_PREFIX}_vip_active", "1 for the active scheduler.", labels=("vip", "switch"))
        asked = CounterMetricFamily(
            f"{_PREFIX}_on_demand_packets",
            "Packets that came because their bucket had no slot.",
            labels=("switch", "outcome"),
        )
        for session in self._running.sessions:
            for fate in Fate:
                asked.add_metric((session.name, fate), session.held.counts[fate])
            ready.add_metric((session.name,), session.state is SessionState.READY)
            for vip in core.election.held_by(session.name):
                active.add_metric((str(vip), session.name), 1)
        yield from (ready, active, asked)

    def _collect_map(self) -> Iterator[Metric]:
        bucket_map = self._running.core.map
        yield _gauge("map_version", "Version of the bucket map.", bucket_map.version)
        yield _gauge("buckets", "Buckets of all vservers.", sum(map(len, bucket_map.buckets.values())))
        unassigned = sum(int(np.count_nonzero(found == UNASSIGNED)) for found in bucket_map.buckets.values())
        yield _gauge("buckets_unassigned", "Buckets without a slot.", unassigned)
        yield _gauge("buckets_split", "Buckets that are split.", len(bucket_map.splits))

    def _collect_ticket_keys(self) -> Iterator[Metric]:
        core, now_s = self._running.core, time.time()
        age = GaugeMetricFamily(
            f"{_PREFIX}_ticket_key_age_seconds", "For how long the active key has been that.", labels=("vserver",)
        )
        held = GaugeMetricFamily(f"{_PREFIX}_ticket_keys", "Keys of a vserver, by state.", labels=("vserver", "state"))
        current = GaugeMetricFamily(
            f"{_PREFIX}_node_ticket_keys_current", "1 for nodes that have the keys handed out.", labels=("node",)
        )
        for vserver, ring in core.ticket_keys.rings.rings.items():
            if active := ring.maybe(KeyState.ACTIVE):
                age.add_metric((vserver,), max(0.0, now_s - active.since_s))
            for state in KeyState:
                held.add_metric((vserver, state), sum(key.state is state for key in ring.keys))
        if core.configuration.controller.ticket_keys is not None:
            for node in core.configuration.nodes:
                if node.kind is NodeKind.TLS:
                    current.add_metric((node.name,), core.ticket_keys.is_current(node.name))
        yield from (age, held, current)

    def _collect_session_ids(self) -> Iterator[Metric]:
        found, of_servers = self._running.session_ids, ("vserver", "server", "stage")
        keys = GaugeMetricFamily(
            f"{_PREFIX}_session_id_keys", "Keys of session ids, by who has them and stage.", labels=of_servers
        )
        exceptions = GaugeMetricFamily(
            f"{_PREFIX}_session_id_exceptions", "Session ids that their groups have left behind.", labels=("vserver",)
        )
        behind = GaugeMetricFamily(
            f"{_PREFIX}_session_id_nodes_behind", "Serving nodes that go by an older table.", labels=("vserver",)
        )
        for vserver, ranged in found.ranged().items():
            allocation = found.allocation(vserver)
            for holder in (*allocation.members, None):
                for stage in Stage:
                    if held := allocation.held(holder, stage):
                        keys.add_metric((vserver, ranged.name_of(holder), stage), held)
            exceptions.add_metric((vserver,), len(allocation.staying))
            behind.add_metric((vserver,), len(found.behind(vserver)))
        yield from (keys, exceptions, behind)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=value)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, _: Viewer) -> Response:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ControllerCollector(request.app.state.running))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
