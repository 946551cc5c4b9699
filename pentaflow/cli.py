"""The `pentaflow` command (shell): parses arguments, runs one process, turns errors into one line and an exit status.

A command imports what it runs when it is run: together that takes seconds.

Exit status: 0 done, 1 something that was asked for does not hold, 2 bad input or a machine that lacks something.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pentaflow.errors import ConfigurationError, PentaflowError
from pentaflow.logs import configure_logs
from pentaflow.operator import commands
from softswitch.state import Engine

_NEW_OBJECTS_PER_COLLECTION = 50_000
_MAX_WORKERS = 256

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="P4 switches before a TLS array.")


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SwitchKind(StrEnum):
    """What runs the P4 program in a Mininet topology."""

    SOFTSWITCH = "softswitch"
    BMV2 = "bmv2"


class VipKeeper(StrEnum):
    """Who puts a node's VIPs on its loopback."""

    MANAGED = "managed"
    EXTERNAL = "external"


ConfigurationFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration file.")]


@app.callback()
def _logs(
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level to log.")] = LogLevel.INFO,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON objects, one a line.")] = False,
) -> None:
    configure_logs(log_level, as_json=log_json)


@app.command("check-config")
def check_config(path: ConfigurationFile) -> None:
    """Check a configuration file and the files that it names."""
    from pentaflow.files import load_configuration

    configuration = load_configuration(path)
    groups = ("switches", "nodes", "vservers", "pools")
    counts = ", ".join(f"{group}: {len(getattr(configuration, group))}" for group in groups)
    typer.echo(f"{path}: ok ({counts})")


@app.command("check-pipeline")
def check_pipeline(path: Annotated[Path, typer.Argument(metavar="JSON", help="What p4c-bm2-ss wrote.")]) -> None:
    """Check that the softswitch runs a P4 program."""
    from pentaflow.files import read_file
    from softswitch.pipeline import load_pipeline

    pipeline = load_pipeline(read_file(path, str(path)), str(path))
    typer.echo(f"{path}: ok ({len(pipeline.tables)} tables)")


@app.command()
def switch(
    port: Annotated[list[str], typer.Option(metavar="N=INTERFACE", help="Attach an interface as port N.")],
    grpc: Annotated[str, typer.Option(metavar="HOST:PORT", help="P4Runtime end point.")] = "127.0.0.1:9559",
    device_id: Annotated[int, typer.Option(min=0, help="P4Runtime device id.")] = 1,
    cpu_port: Annotated[int, typer.Option(min=1, max=510, help="Port number of packet-in and packet-out.")] = 510,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Serve P4Runtime over TLS: certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(metavar="PEM", help="Require client certificates of this CA.")] = None,
    pcap: Annotated[list[str] | None, typer.Option(metavar="N=FILE", help="Write port N's frames to a file.")] = None,
    pcap_mib: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest size of such a file.")] = 1024,
    engine: Annotated[
        Engine, typer.Option(envvar="PENTAFLOW_ENGINE", help="What runs the pipeline; auto: native if it can be made.")
    ] = Engine.AUTO,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve Prometheus metrics over HTTP; off by default.")
    ] = None,
) -> None:
    """Run the softswitch: a P4Runtime switch on Linux interfaces."""
    from softswitch.switch import SwitchOptions, run_switch

    ports = _parse_ports(port)
    captures = _parse_captures(pcap or [], ports)
    if cpu_port in ports:
        raise ConfigurationError("--port", f"port {cpu_port} is the CPU port; an interface needs another number")
    tls = None
    if tls_cert or tls_key or tls_ca:
        from pentaflow.files import read_credentials

        tls = read_credentials(
            certificate=tls_cert, key=tls_key, ca=tls_ca, places=("--tls-cert", "--tls-key", "--tls-ca")
        )
        if tls.identity is None:
            raise ConfigurationError("--tls-ca", "needs --tls-cert and --tls-key, too")
    options = SwitchOptions(
        grpc_address=grpc,
        device_id=device_id,
        ports=ports,
        cpu_port=cpu_port,
        engine=engine,
        tls=tls,
        metrics=_parse_end_point("--metrics", metrics) if metrics is not None else None,
    )
    # Entries live long and are in no cycles: at Python's default, 700, they would be walked over and over while a table
    # is loaded.
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
    _serve(lambda: run_switch(options, captures=captures, capture_octets=pcap_mib << 20))


@app.command()
def controller(
    path: ConfigurationFile,
    store: Annotated[
        str, typer.Option(help="What outlives it: memory:, sqlite:PATH or etcd://HOST:PORT[,HOST:PORT].")
    ] = "memory:",
    name: Annotated[str, typer.Option(help="Its name among those that share a store; default: this host's.")] = "",
    store_ca: Annotated[Path | None, typer.Option(metavar="PEM", help="TLS to etcd: authority to check it by.")] = None,
    store_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate to show to etcd.")] = None,
    store_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
) -> None:
    """Run the controller: bucket maps, health, layer 2 and the REST API."""
    from controller.app import Given, run_controller
    from controller.store.opening import StoreTls
    from pentaflow.files import load_configuration, read_file

    configuration = load_configuration(path)
    given = Given(configuration=configuration, text=read_file(path, str(path)).decode(), base=path.parent)
    tls = StoreTls(ca=store_ca, certificate=store_cert, key=store_key) if store_ca else None
    if tls is None and (store_cert or store_key):
        raise ConfigurationError("--store-cert", "needs --store-ca, too")
    _serve(lambda: run_controller(given, store_url=store, store_tls=tls, name=name))


@app.command()
def node(
    path: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="The YAML configuration file.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which node of the file this is.")] = None,
    workers: Annotated[str, typer.Option(metavar="N|auto", help="Worker processes; auto: one a processor.")] = "auto",
    vips: Annotated[VipKeeper, typer.Option(help="Who puts the VIPs on the loopback: the node, or somebody else.")] = (
        VipKeeper.MANAGED
    ),
    user: Annotated[str, typer.Option(help="Run the workers as this user, who needs no privilege.")] = "",
    drain: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="What open requests get at the end.")] = 5,
    access_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Access log of vservers that have one.")
    ] = None,
    controllers: Annotated[
        list[str] | None, typer.Option("--controller", metavar="URL", help="Get the configuration from there.")
    ] = None,
    agent_name: Annotated[str, typer.Option("--name", help="With --controller: which node this is.")] = "",
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="With it: authority of controllers.")] = None,
    cert: Annotated[Path | None, typer.Option(metavar="PEM", help="With it: the node's certificate.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="With it: its private key.")] = None,
) -> None:
    """Run a TLS proxy node, of a file or, with --controller, as the agent of a controller.

    SIGHUP: read the configuration again, and begin the access log anew. SIGTERM: drain and end; once more: end now.
    """
    import uvloop

    from pentaflow.config import MutualTls
    from pentaflow.files import load_configuration, read_node_configuration
    from pentaflow.node_configuration import NodeConfiguration
    from tlsnodes.node import NodeOptions, run_node
    from tlsnodes.supervisor import WorkerOptions

    options = NodeOptions(
        workers=WorkerOptions(count=_parse_workers(workers), user=user, drain_s=drain, access_log=access_log),
        holds_vips=vips is VipKeeper.MANAGED,
    )
    if controllers:
        from tlsnodes.agent import run_agent

        if path is not None or not (agent_name and ca and cert and key):
            raise ConfigurationError("--controller", "needs --name, --ca, --cert and --key, and no file")
        for url in controllers:
            if not url.startswith("https://"):
                raise ConfigurationError("--controller", f"{url!r} is not https://HOST:PORT")
        urls = [url.rstrip("/") for url in controllers]
        tls = MutualTls(ca=ca, certificate=cert, key=key)
        agent_options = replace(options, management_tls=tls)
        _serve(lambda: run_agent(urls, agent_name, tls, agent_options), loop_factory=uvloop.new_event_loop)
        return
    if path is None or name is None:
        raise ConfigurationError("node", "needs CONFIG and NAME, or --controller")
    if agent_name or ca or cert or key:
        raise ConfigurationError("--name, --ca, --cert and --key", "go with --controller")

    def load() -> NodeConfiguration:
        return read_node_configuration(load_configuration(path), name)

    _serve(lambda: run_node(load, options), loop_factory=uvloop.new_event_loop)


@app.command()
def backend(
    name: Annotated[str, typer.Option(help="What it calls itself in its answers.")],
    listen_at: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect.")],
    record: Annotated[
        str, typer.Option(metavar="FILE|URL", help="What session ids it makes; of a controller: /session-ids/V/SERVER.")
    ],
    cert: Annotated[Path, typer.Option(metavar="PEM", help="Its certificate.")],
    key: Annotated[Path, typer.Option(metavar="PEM", help="The private key.")],
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Bearer token for the controller.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="Authority of the controller.")] = None,
    client_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate to show it; needs --ca.")] = None,
    client_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
) -> None:
    """Run a reference back end: HTTPS on TLS 1.2, with session ids as its record says."""
    from pentaflow.files import read_credentials
    from pentaflow.serving import listen
    from tlsnodes.backend.records import make_origin
    from tlsnodes.backend.server import BackendOptions, run_backend
    from tlsnodes.tls.context import KeyedCertificate

    identity = read_credentials(certificate=cert, key=key, ca=None, places=("--cert", "--key", "")).identity
    assert identity is not None, "both files are given"
    options = BackendOptions(
        name=name,
        listener=listen(*_parse_end_point("--listen", listen_at), "--listen"),
        certificate=KeyedCertificate(certificate_pem=identity.certificate, key_pem=identity.key),
        origin=make_origin(record, token_file=token_file, ca=ca, certificate=client_cert, key=client_key),
    )
    _serve(lambda: run_backend(options))


@app.command()
def demo(
    switch_kind: Annotated[SwitchKind, typer.Option("--switch", help="The switch target.")] = SwitchKind.SOFTSWITCH,
    stay: Annotated[bool, typer.Option("--stay", help="Leave the topology up until Ctrl-C.")] = False,
) -> None:
    """Run the whole array in Mininet and prove it with real traffic."""
    from pentaflow.demo import run

    raise typer.Exit(run(switch=switch_kind.value, stay=stay))


commands.register(app)


def _parse_ports(texts: list[str]) -> dict[int, str]:
    ports: dict[int, str] = {}
    for text in texts:
        number, equals, interface = text.partition("=")
        if not (equals and interface and len(number) <= 3 and number.isdecimal() and 1 <= int(number) <= 510):
            raise ConfigurationError("--port", f"{text!r} is not N=INTERFACE with N from 1 to 510")
        if int(number) in ports:
            raise ConfigurationError("--port", f"port {number} is given twice")
        if interface in ports.values():
            raise ConfigurationError("--port", f"interface {interface} is given twice")
        ports[int(number)] = interface
    return ports


def _parse_workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0))
    if not (text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= _MAX_WORKERS):
        raise ConfigurationError("--workers", f"{text!r} is neither auto nor a number from 1 to {_MAX_WORKERS}")
    return int(text)


def _parse_end_point(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and len(port) <= 5 and port.isdecimal() and int(port) <= 0xFFFF):
        raise ConfigurationError(option, f"{text!r} is not HOST:PORT")
    return host, int(port)


def _parse_captures(texts: list[str], ports: dict[int, str]) -> dict[int, Path]:
    captures: dict[int, Path] = {}
    for text in texts:
        number, _, path = text.partition("=")
        if not (path and len(number) <= 3 and number.isdecimal() and int(number) in ports):
            raise ConfigurationError("--pcap", f"{text!r} is not N=FILE with N one of the ports")
        if int(number) in captures:
            raise ConfigurationError("--pcap", f"port {number} is given twice")
        if Path(path) in captures.values():
            raise ConfigurationError("--pcap", f"file {path} is given twice")
        captures[int(number)] = Path(path)
    return captures


def _serve(
    run: Callable[[], Coroutine[Any, Any, None]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run a server until it ends by itself or SIGINT or SIGTERM cancels it."""

    async def until_signalled() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        await run()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(until_signalled())
        except asyncio.CancelledError:
            return


def main() -> None:
    """Entry point of the `pentaflow` command."""
    try:
        app(standalone_mode=True)
    except PentaflowError as error:
        print(f"pentaflow: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
