"""The switch's counters as Prometheus metrics: read where they are when they are asked for, nothing is kept here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from softswitch.p4runtime.device import Device
from softswitch.p4runtime.service import P4RuntimeService, StreamDrop, StreamMessage
from softswitch.ports import Drop, Ports

_PREFIX = "pentaflow_switch"


class SwitchCollector(Collector):
    """Collects from a switch, on its event loop.

    Args:
        device: its pipeline and its clients.
        service: its P4Runtime server.
        ports: its interfaces.
        drops: frames that the switch itself dropped, by reason.
    """

    def __init__(
        self, *, device: Device, service: P4RuntimeService, ports: Ports, drops: Callable[[], Mapping[Enum, int]]
    ) -> None:
        self._device = device
        self._service = service
        self._ports = ports
        self._drops = drops
        self._id = str(device.device_id)

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        yield from self._collect_ports()
        yield from self._collect_pipeline()
        yield from self._collect_streams()

    def _counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=("device_id", *labels))

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=("device_id", *labels))

    def _collect_ports(self) -> Iterator[Metric]:
        labels = ("port", "interface")
        received = self._counter("port_receive_packets", "Frames received.", *labels)
        received_bytes = self._counter("port_receive_bytes", "Octets of received frames.", *labels)
        sent = self._counter("port_transmit_packets", "Frames sent.", *labels)
        sent_bytes = self._counter("port_transmit_bytes", "Octets of sent frames.", *labels)
        dropped = self._counter("port_drops", "Frames dropped at the port.", *labels, "reason")
        went_down = self._counter("port_went_down", "Times that the interface went down or away.", *labels)
        up = self._gauge("port_up", "Whether the interface is there and up.", *labels)
        for number, counters in self._ports.counters.items():
            port = (self._id, str(number), self._ports.interface(number))
            received.add_metric(port, counters.rx_packets)
            received_bytes.add_metric(port, counters.rx_octets)
            sent.add_metric(port, counters.tx_packets)
            sent_bytes.add_metric(port, counters.tx_octets)
            for reason in Drop:
                dropped.add_metric((*port, _label(reason)), counters.drops[reason])
            went_down.add_metric(port, counters.went_down)
            up.add_metric(port, self._ports.is_up(number))
        switch_dropped = self._counter("drops", "Frames dropped by the switch, at no port.", "reason")
        for switch_reason, count in self._drops().items():
            switch_dropped.add_metric((self._id, _label(switch_reason)), count)
        yield from (received, received_bytes, sent, sent_bytes, dropped, went_down, up, switch_dropped)

    def _collect_pipeline(self) -> Iterator[Metric]:
        engine = InfoMetricFamily(f"{_PREFIX}_engine", "What runs the pipeline.", labels=("device_id",))
        entries = self._gauge("table_entries", "Entries of a table.", "table")
        size = self._gauge("table_size", "Entries that a table holds at most.", "table")
        digests = self._counter("digests_dropped", "Digest messages dropped, of the active pipeline.", "reason")
        clones = self._counter("clones_dropped", "Egress clones that were too many for their packet.")
        forwarding = self._device.active
        if forwarding is None:
            engine.add_metric((self._id,), {"engine": "none"})
        else:
            engine.add_metric((self._id,), {"engine": "python" if forwarding.pipeline.native is None else "native"})
            for info in forwarding.info.tables.values():
                table = forwarding.pipeline.tables[info.name]
                entries.add_metric((self._id, info.name), len(table))
                size.add_metric((self._id, info.name), table.size)
            digests.add_metric((self._id, "unconfigured"), forwarding.digests.unconfigured)
            digests.add_metric((self._id, "unacknowledged"), forwarding.digests.dropped)
            clones.add_metric((self._id,), forwarding.pipeline.clones_dropped)
        yield from (engine, entries, size, digests, clones)

    def _collect_streams(self) -> Iterator[Metric]:
        primary = self._gauge("primary_present", "Whether a controller is primary, of any role.")
        primary.add_metric((self._id,), bool(self._device.arbitration.primaries()))
        sent = self._counter("stream_messages_sent", "Messages handed to a primary controller's stream.", "kind")
        dropped = self._counter("stream_messages_dropped", "Messages for a controller, dropped.", "kind", "reason")
        for kind in StreamMessage:
            sent.add_metric((self._id, kind.value), self._service.sent[kind])
            for reason in StreamDrop:
                dropped.add_metric((self._id, kind.value, _label(reason)), self._service.drops[kind, reason])
        yield from (primary, sent, dropped)


def _label(reason: Enum) -> str:
    return reason.name.lower()
