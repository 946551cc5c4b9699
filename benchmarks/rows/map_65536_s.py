"""A whole map of 65,536 buckets onto an empty switch, in the controller's batches, with idle timeouts."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import vip
from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.targets import Target, against_bmv2
from controller.diff import BATCH_UPDATES

BUCKETS = 65_536
IDLE_TIMEOUT_NS = 300_000_000_000


def sample(target: Target, _profile: Profile) -> Mapping[str, float]:
    """Seconds until the last Write is answered; encoding is not counted."""
    with vip.bare_switch(target) as device:
        entries = vip.bucket_entries(BUCKETS, idle_timeout_ns=IDLE_TIMEOUT_NS)
        encoded = device.encode_inserts(entries, BATCH_UPDATES)
        began = time.perf_counter()
        device.write(encoded)
        return {f"{BATCH_UPDATES:,} an RPC": time.perf_counter() - began}


BENCHMARK = against_bmv2(name="map_65536_s", unit="s", better=Better.LESS, sample=sample)
