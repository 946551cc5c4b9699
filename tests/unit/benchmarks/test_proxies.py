"""What the load generators and the kernel say about a TLS proxy, and how the proxies are configured alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lab import parse_parent, parse_pss_kib
from benchmarks.load import PER_CPU_SECOND, PER_SECOND, Spent, parse_s_time, parse_wrk
from benchmarks.proxies import CHAIN, Proxy, node_document
from pentaflow.config import Configuration
from pentaflow.errors import HostError

WRK = """\
Running 60m test @ https://127.0.0.1:8443/small
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   631.35us  103.63us   4.06ms   91.15%
    Req/Sec    50.92k     1.52k   53.10k    80.00%
  Latency Distribution
     50%  612.00us
     75%  655.00us
     90%    0.71ms
     99%    1.05s
  101923 requests in 2.00s, 24.79MB read
Requests/sec:  50929.27
Transfer/sec:     12.39MB
"""
S_TIME = "Collecting connection statistics for 600 seconds\n"


def test_wrk_counts_requests_and_seconds() -> None:
    report = parse_wrk(WRK)
    assert (report.requests, report.seconds) == (101923, 2.0)
    assert parse_wrk(WRK.replace("in 2.00s", "in 300.05ms")).seconds == pytest.approx(0.30005)
    assert parse_wrk(WRK.replace("in 2.00s", "in 1.50m")).seconds == 90


def test_wrk_s_percentiles_have_units_of_their_own() -> None:
    assert parse_wrk(WRK).latency_s == pytest.approx({50: 612e-6, 75: 655e-6, 90: 0.71e-3, 99: 1.05})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "wrk: Socket errors: connect 0, read 3"),
        (WRK + "  Non-2xx or 3xx responses: 7\n", "wrk: Non-2xx or 3xx responses: 7"),
        ("unable to connect to 127.0.0.1:1 Connection refused\n", "wrk: no report: unable to connect"),
    ],
)
def test_requests_that_failed_are_no_figure(text: str, message: str) -> None:
    with pytest.raises(HostError) as error:
        parse_wrk(text)
    assert str(error.value).startswith(message)


def test_s_time_marks_each_handshake() -> None:
    assert parse_s_time("") == (0, 0)
    assert parse_s_time(S_TIME) == (0, 0)
    assert parse_s_time(S_TIME + "***") == (3, 0)
    assert parse_s_time("\n\nNow timing with session id reuse.\nstarting\nrr*r") == (1, 3)


def test_rates_are_by_the_clock_and_by_the_proxy_s_processor() -> None:
    assert Spent(done=30_000, seconds=2.0, cpu_s=1.5).rates() == {PER_CPU_SECOND: 20_000, PER_SECOND: 15_000}


def test_the_parent_of_a_process_whatever_its_name() -> None:
    assert parse_parent("12 (nginx) S 7 12 12 0 -1") == 7
    assert parse_parent("12 (a ) S 9 b) R 7 12 12 0 -1") == 7


def test_memory_is_the_proportional_set_size() -> None:
    rollup = "55d0-7fff ---p 00000000 00:00 0 [rollup]\nRss:   9000 kB\nPss:   5120 kB\nPss_Anon:  4000 kB\n"
    assert parse_pss_kib(rollup) == 5120
    with pytest.raises(HostError, match="smaps_rollup"):
        parse_pss_kib("Rss: 9000 kB\n")


def test_the_node_s_configuration_is_one_that_it_takes() -> None:
    configuration = Configuration.model_validate(node_document(8443, 8080, {}))
    (vserver,) = configuration.vservers
    assert vserver.tls is not None
    assert (str(vserver.vip), vserver.port, str(vserver.tls.certificate)) == ("127.0.0.1", 8443, CHAIN)
    assert [server.address.port for server in configuration.pools[0].servers] == [8080]


@pytest.mark.parametrize("proxy", Proxy)
def test_every_proxy_listens_and_forwards_where_it_is_told(proxy: Proxy) -> None:
    name, text = next(iter(proxy.files(18443, 18080).items()))
    assert "18443" in text
    assert "18080" in text
    assert any(name in word for word in proxy.command(Path("/folder")))


@pytest.mark.parametrize("proxy", [Proxy.HAPROXY, Proxy.NGINX])
def test_the_peers_have_one_policy(proxy: Proxy) -> None:
    (text,) = proxy.files(18443, 18080).values()
    for policy in ("ECDHE-ECDSA-AES256-GCM-SHA384", "X25519:prime256v1:secp384r1", "TLSv1.2"):
        assert policy in text
