"""What loads a TLS proxy: `wrk` for requests, `openssl s_time` for handshakes; and what they print."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from benchmarks.harness import Profile
from benchmarks.lab import SIZES, SUITE, Lab, running
from benchmarks.network import stop
from benchmarks.proxies import HOST, Proxy
from pentaflow.errors import HostError

CONNECTIONS = 32
WARM_UP_S = 0.5
#: However short the profile: on a busy machine nothing may happen for a while.
LEAST_S = 1.0
#: In the mean. Long against the latency, so that requests come when they come, however long the last one took.
THINK_S = 0.02
#: openssl's own clock has whole seconds, and one of these must outlast any sample.
S_TIME_S = 600
S_TIME_PROCESSES = 4
S_TIME_CIPHERS = ("-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-ciphersuites", SUITE)
#: s_time writes "HTTP/1.0" behind it; without a Host field its request would be refused.
PAGE = f"/small HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nX-Rest:"
PER_CPU_SECOND, PER_SECOND = "in a second of the proxy's processor", "in a second, as clients saw it"

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_THINK = """\
-- Think a while before each request: {mean_ms} ms in the mean, exponentially distributed.
math.randomseed(1)
function delay() return math.floor(0.5 - {mean_ms} * math.log(1 - math.random())) end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was done in a while.

    Attributes:
        done: requests, handshakes, Gbit …
        seconds: how long it took.
        cpu_s: processor time that the proxy took for it.
    """

    done: float
    seconds: float
    cpu_s: float

    def rates(self) -> Mapping[str, float]:
        """The settings of a row."""
        return {PER_CPU_SECOND: self.done / self.cpu_s, PER_SECOND: self.done / self.seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What wrk says: how many answers in how many seconds, and the latencies by percentile, in seconds."""

    requests: int
    seconds: float
    latency_s: Mapping[int, float]


def requests(proxy: Proxy, profile: Profile, path: str, *, cookie: str = "") -> Spent:
    """Answers to `GET /path` over connections that stay, one request at a time on each, as fast as it goes."""
    fields = ("-H", f"Cookie: {cookie}") if cookie else ()
    with running(proxy) as lab:
        wrk(lab, path, WARM_UP_S, *fields)
        began = lab.cpu_s()
        report = wrk(lab, path, _seconds(profile), *fields)
        return Spent(done=report.requests, seconds=report.seconds, cpu_s=lab.cpu_s() - began)


def gigabits(proxy: Proxy, profile: Profile, path: str) -> Spent:
    """Content in Gbit, in the same way."""
    spent = requests(proxy, profile, path)
    return replace(spent, done=spent.done * SIZES[path] * 8 / 1e9)


def latency_ms(proxy: Proxy, profile: Profile, percentile: int) -> Mapping[str, float]:
    """How long this share of the requests takes at most, at half of what the slower of node and HAProxy can do."""
    rate = _half_load(profile)
    return {f"{rate:,} requests/s": paced(proxy, profile, rate).latency_s[percentile] * 1000}


@cache
def _half_load(profile: Profile) -> int:
    compared = [proxy for proxy in (Proxy.NODE, Proxy.HAPROXY) if proxy.is_installed]
    slower = min(requests(proxy, profile, "small").rates()[PER_SECOND] for proxy in compared)
    return 100 * round(slower / 200)


def paced(proxy: Proxy, profile: Profile, rate: float) -> Report:
    """The same at about `rate` requests a second: from many connections, each of which thinks before each request."""
    with running(proxy) as lab, tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_THINK.format(mean_ms=1000 * THINK_S))
        script.flush()
        connections = max(1, round(rate * THINK_S))
        wrk(lab, "small", WARM_UP_S, connections=connections)
        return wrk(lab, "small", _seconds(profile), "-s", script.name, connections=connections)


def _seconds(profile: Profile) -> float:
    return max(LEAST_S, profile.seconds)


def wrk(lab: Lab, path: str, seconds: float, *options: str, connections: int = CONNECTIONS) -> Report:
    """Run wrk once.

    Raises:
        HostError: a request went wrong, or none was answered in a time that is no warm-up.
    """
    # wrk knows whole seconds only and ends early, with its report, when it is interrupted.
    argv = [
        "timeout",
        "--signal=INT",
        f"{seconds}",
        "wrk",
        "-t1",
        f"-c{connections}",
        "-d1h",
        "--latency",
        "--timeout=10s",
        *options,
    ]
    done = subprocess.run([*argv, lab.url(path)], capture_output=True, text=True, check=False)
    report = parse_wrk(done.stdout + done.stderr)
    if not report.requests and seconds >= LEAST_S:
        raise HostError(lab.proxy, f"answers no request in {seconds:g} s")
    return report


def parse_wrk(text: str) -> Report:
    """wrk's report.

    Raises:
        HostError: it is none, or requests failed.
    """
    total = re.search(r"^ *(\d+) requests in ([\d.]+)(us|ms|s|m),", text, re.MULTILINE)
    wrong = re.search(r"^ *(Socket errors: .*|Non-2xx .*)$", text, re.MULTILINE)
    if total is None or wrong:
        raise HostError("wrk", wrong[1] if wrong else f"no report: {' '.join(text.split()[-40:])}")
    percentiles = re.findall(r"^ *(\d+)% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return Report(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS_S[total[3]],
        latency_s={int(percent): float(value) * _UNITS_S[unit] for percent, value, unit in percentiles},
    )


def handshakes(proxy: Proxy, profile: Profile, version: str, *, resumed: bool) -> Spent:
    """Handshakes of new TCP connections, which the client closes; `version` is 1.2 or 1.3."""
    # A ticket of TLS 1.3 comes after the handshake: s_time reads it only where it reads a page, too.
    page = ["-www", PAGE] if resumed and version == "1.3" else []
    options = ["-reuse" if resumed else "-new", f"-tls{version.replace('.', '_')}", *S_TIME_CIPHERS, *page]
    with running(proxy) as lab, _s_time(lab, options) as count:
        time.sleep(WARM_UP_S)
        before, cpu_s, began = count(), lab.cpu_s(), time.monotonic()
        time.sleep(_seconds(profile))
        seconds, cpu_s, after = time.monotonic() - began, lab.cpu_s() - cpu_s, count()
    if after[not resumed]:
        kinds = ("full", "resumed")
        raise HostError(proxy, f"TLS {version}: {after[not resumed]} {kinds[not resumed]} handshakes among the others")
    done = after[resumed] - before[resumed]
    if not done:
        raise HostError(proxy, f"TLS {version}: no handshake in {seconds:.1f} s")
    return Spent(done=done, seconds=seconds, cpu_s=cpu_s)


@contextmanager
def _s_time(lab: Lab, options: list[str]) -> Iterator[Callable[[], tuple[int, int]]]:
    """Processes that make one connection after the other; yields what counts full and resumed handshakes so far."""
    argv = ["openssl", "s_time", "-connect", f"{HOST}:{lab.port}", "-time", str(S_TIME_S), *options]
    with ExitStack() as opened:
        outputs = [Path(opened.enter_context(tempfile.NamedTemporaryFile()).name) for _ in range(S_TIME_PROCESSES)]
        processes = []
        for output in outputs:
            with output.open("wb") as file:
                process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            opened.callback(stop, process)
            processes.append(process)

        def count() -> tuple[int, int]:
            texts = [output.read_text(errors="replace") for output in outputs]
            for process, text in zip(processes, texts, strict=True):
                if process.poll() is not None:
                    raise HostError("openssl s_time", f"ended early: {' '.join(text.split()[-40:])}")
            counts = [parse_s_time(text) for text in texts]
            return sum(full for full, _ in counts), sum(resumed for _, resumed in counts)

        yield count


def parse_s_time(text: str) -> tuple[int, int]:
    """Full and resumed handshakes in what s_time prints while it runs: after its headings, a letter for each."""
    marks = text.rpartition("\n")[2]
    return marks.count("*"), marks.count("r")
