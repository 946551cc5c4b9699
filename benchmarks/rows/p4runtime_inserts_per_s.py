"""Table entries/s over P4Runtime, one request at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import vip
from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.targets import Target, against_bmv2

#: Setting: entries in a request, requests.
SETTINGS = {"1 an RPC": (1, 2000), "100 an RPC": (100, 160), "1,000 an RPC": (1000, 16)}


def sample(target: Target, profile: Profile) -> Mapping[str, float]:
    """Entries/s inserted into the bucket table."""
    rates = {}
    for setting, (batch, requests) in SETTINGS.items():
        count = batch * max(int(requests * profile.scale), 1)
        with vip.bare_switch(target) as device:
            encoded = device.encode_inserts(vip.bucket_entries(count), batch)
            began = time.perf_counter()
            device.write(encoded)
            rates[setting] = count / (time.perf_counter() - began)
    return rates


BENCHMARK = against_bmv2(name="p4runtime_inserts_per_s", unit="entries/s", better=Better.MORE, sample=sample)
