"""Commands of the operator (shell): each asks the controller's REST API, and prints a table or its answer as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from pentaflow.errors import ConfigurationError, PentaflowError
from pentaflow.operator import tables
from pentaflow.operator.client import Client, NotNowError, UnreachableError
from pentaflow.operator.options import asking, client_of

_POLL_S = 1.0
_PIPE_WIDTH = 1000
_PANEL = "Operating a running array"

Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]
WaitForNodes = Annotated[
    float | None,
    typer.Option("--wait", min=0, metavar="S", help="Wait until all nodes that have an agent run it, so long at most."),
]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Your own words, kept with the version.")]


def _complete_node(ctx: typer.Context, incomplete: str) -> list[str]:
    return _complete("/nodes", ctx, incomplete)


def _complete_vserver(ctx: typer.Context, incomplete: str) -> list[str]:
    return _complete("/vservers", ctx, incomplete)


def _complete(path: str, ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of objects of the array; none if it can't be asked: a shell that completes has nobody to tell."""
    try:
        with client_of(ctx) as client:
            names = [item["name"] for item in client.get_all(path)]
    except PentaflowError:
        return []
    return [name for name in names if name.startswith(incomplete)]


NodeName = Annotated[str, typer.Argument(metavar="NODE", autocompletion=_complete_node)]
VserverName = Annotated[str, typer.Argument(metavar="VSERVER", autocompletion=_complete_vserver)]


class RoleName(StrEnum):
    """Roles of tokens; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def _console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """What people wrote, such as comments, is printed as it is; without a terminal nothing is folded."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)


def _print(document: Any, as_json: bool, show: Callable[[Any], RenderableType]) -> None:
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _console().print(show(document))


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(option, f"{text!r} is not NODE=VALUE")
        pairs[name] = value
    return pairs


def status(client: Client, as_json: Json = False) -> None:
    """The array at a glance: summary, alarms, switches, nodes."""
    _print(_overview(client), as_json, _show_overview)


def _overview(client: Client) -> dict[str, Any]:
    return {
        "summary": client.get("/tables/summary"),
        "alarms": client.get("/alarms"),
        "switches": client.get_all("/switches"),
        "nodes": client.get("/tables/nodes"),
        "drains": client.get("/drains"),
    }


def _show_overview(found: Any) -> RenderableType:
    parts: list[RenderableType] = [
        tables.summary(found["summary"]),
        "",
        tables.alarms(found["alarms"]),
        "",
        tables.switches(found["switches"]),
        "",
        tables.nodes(found["nodes"]),
    ]
    return Group(*parts, "", tables.drains(found["drains"])) if found["drains"]["nodes"] else Group(*parts)


def nodes(client: Client, as_json: Json = False) -> None:
    """The node table."""
    _print(client.get("/tables/nodes"), as_json, tables.nodes)


def servers(client: Client, as_json: Json = False) -> None:
    """The servers, as each node sees them."""
    _print(client.get("/tables/servers"), as_json, tables.servers)


def vservers(client: Client, as_json: Json = False) -> None:
    """The virtual servers, and their nodes' shares."""
    _print(client.get_all("/vservers"), as_json, tables.vservers)


def buckets(
    client: Client,
    vserver: VserverName,
    as_json: Json = False,
) -> None:
    """The bucket table of a vserver, with hits and last access from the active switch."""
    _print(client.get_all("/tables/buckets", vserver=vserver), as_json, tables.buckets)


def drain(
    client: Client,
    node: NodeName,
    deadline: Annotated[
        float | None, typer.Option(min=1, metavar="S", help="Force what is left after so long.")
    ] = None,
    maintenance: Annotated[bool, typer.Option("--maintenance", help="Take it into maintenance.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Back to what the configuration says.")] = False,
    reason: Annotated[str, typer.Option(help="Your own words.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the node is empty.")] = False,
    as_json: Json = False,
) -> None:
    """Send a node no new connections, and let those that are open end."""
    path = f"/nodes/{quote(node, safe='')}/intent"
    if cancel:
        answer = client.change("DELETE", path)
    else:
        state = "maintenance" if maintenance else "draining"
        answer = client.change("PUT", path, json={"state": state, "deadline_s": deadline, "reason": reason})
    if wait and not cancel:
        _wait_until_empty(client, node, quiet=as_json)
    _print(answer.document, as_json, lambda intent: f"{node}: {intent['state']}")


def _wait_until_empty(client: Client, node: str, *, quiet: bool) -> None:
    with Live(console=_console(stderr=True, quiet=quiet), refresh_per_second=4, transient=True) as live:
        while True:
            found = client.get("/drains")
            row = next((row for row in found["nodes"] if row["node"] == node), None)
            if row is None or row["drained"]:
                return
            live.update(tables.drains(found | {"nodes": [row]}))
            time.sleep(_POLL_S)


def plan(
    client: Client,
    configuration: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A new configuration.")] = None,
    weight: Annotated[list[str] | None, typer.Option(metavar="NODE=WEIGHT", help="Another weight.")] = None,
    intent: Annotated[
        list[str] | None, typer.Option(metavar="NODE=STATE", help="active, draining or maintenance.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a change would move; `pentaflow apply` makes it."""
    weights = {}
    for name, text in _pairs("--weight", weight or ()).items():
        if not text.isdecimal():
            raise ConfigurationError("--weight", f"{text!r} is not a weight")
        weights[name] = int(text)
    request: dict[str, Any] = {"weights": weights, "intents": _pairs("--intent", intent or ())}
    if configuration is not None:
        request["configuration"] = _read(configuration)
    _print(client.change("POST", "/plans", json=request).document, as_json, tables.plan)


def apply(
    client: Client,
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="The id that `pentaflow plan` gave.")],
    as_json: Json = False,
) -> None:
    """Make the change of a plan, if it would still do what the plan says."""
    _print(client.change("POST", f"/plans/{quote(plan_id, safe='')}/apply").document, as_json, tables.plan)


class KeyAction(StrEnum):
    """What is done with ticket keys."""

    ROTATE = "rotate"


def ticket_keys(
    client: Client,
    action: Annotated[KeyAction | None, typer.Argument(help="Without, they are shown.")] = None,
    vserver: Annotated[str, typer.Argument(metavar="[VSERVER]", autocompletion=_complete_vserver)] = "",
    as_json: Json = False,
) -> None:
    """The keys of TLS tickets, and which nodes have them; `rotate VSERVER` has the next one take over."""
    if action is None:
        _print(client.get("/ticket-keys"), as_json, tables.ticket_keys)
        return
    if not vserver:
        raise ConfigurationError("ticket-keys rotate", "needs the name of a vserver")
    answer = client.change("POST", f"/ticket-keys/{quote(vserver, safe='')}/rotate")
    _print(answer.document, as_json, lambda ring: f"{vserver}: the next key takes over as soon as all nodes have it")


class SessionIdAction(StrEnum):
    """What is done with session ids."""

    PLAN = "plan"
    APPLY = "apply"


def session_ids(
    client: Client,
    action: Annotated[SessionIdAction | None, typer.Argument(help="Without, who makes which is shown.")] = None,
    vserver: Annotated[str, typer.Argument(metavar="[VSERVER]", autocompletion=_complete_vserver)] = "",
    plan_id: Annotated[str, typer.Argument(metavar="[PLAN]", help="The id that `plan` gave.")] = "",
    as_json: Json = False,
) -> None:
    """TLS session ids: who makes which; `plan VSERVER` says what a re-plan would do, `apply VSERVER PLAN` does it."""
    path = f"/session-ids/{quote(vserver, safe='')}"
    match action:
        case None:
            _print(client.get("/session-ids"), as_json, tables.session_ids)
        case _ if not vserver:
            raise ConfigurationError(f"session-ids {action}", "needs the name of a vserver")
        case SessionIdAction.PLAN:
            _print(client.change("POST", f"{path}/plan").document, as_json, tables.session_id_plan)
        case SessionIdAction.APPLY:
            if not plan_id:
                raise ConfigurationError(
                    "session-ids apply", f"needs a plan, as `session-ids plan {vserver}` gives one"
                )
            answer = client.change("POST", f"{path}/plans/{quote(plan_id, safe='')}/apply")
            _print(answer.document, as_json, tables.session_id_plan)


def explain(
    client: Client,
    vserver: VserverName,
    client_address: Annotated[str, typer.Argument(metavar="ADDRESS:PORT", help="The client's.")],
    as_json: Json = False,
) -> None:
    """Which node serves a client now, why, and since when."""
    _print(client.get("/explain", vserver=vserver, client=client_address), as_json, tables.explanation)


def why(
    client: Client,
    vserver: VserverName,
    cookie: Annotated[
        str,
        typer.Option(metavar="COOKIES", help="Its Cookie field; the server's cookie is enough. -: a line of input."),
    ] = "",
    ticket: Annotated[
        str, typer.Option(metavar="HEX", help="The TLS ticket that it shows, in hexadecimal. -: a line of input.")
    ] = "",
    session_id: Annotated[
        str, typer.Option(metavar="HEX", help="The id of the TLS 1.2 session that it resumes. -: a line of input.")
    ] = "",
    name: Annotated[str, typer.Option(help="The server name that it asks for (SNI).")] = "",
    client_address: Annotated[str, typer.Option("--client", metavar="ADDRESS", help="Its address.")] = "",
    node: Annotated[str, typer.Option(help="Whom to ask.", autocompletion=_complete_node)] = "",
    as_json: Json = False,
) -> None:
    """Which server a client that identifies itself like this would get, and why."""
    secrets = {
        "Client-Cookie": _secret("--cookie", cookie),
        "Client-Ticket": _secret("--ticket", ticket),
        "Client-Session-Id": _secret("--session-id", session_id),
    }
    question = {"name": name, "client": client_address, "node": node}
    answer = client.get(
        f"/sessions/{quote(vserver, safe='')}",
        headers={field: octets for field, octets in secrets.items() if octets},
        **{parameter: text for parameter, text in question.items() if text},
    )
    _print(answer, as_json, tables.session)


def _secret(option: str, text: str) -> bytes:
    """What goes into a field of the request's header."""
    octets = (sys.stdin.buffer.readline() if text == "-" else os.fsencode(text)).strip()
    if any(octet < 0x20 or octet == 0x7F for octet in octets.replace(b"\t", b" ")):
        raise ConfigurationError(option, "control characters")
    return octets


def events(
    client: Client,
    after: Annotated[int, typer.Option(min=0, help="Only events with a higher id.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
    as_json: Json = False,
) -> None:
    """What happened; with --follow until Ctrl-C, as JSON one object a line."""
    if not follow:
        _print(client.get_all("/events", after=after), as_json, lambda found: Group(*map(tables.event, found)))
        return
    console = _console()
    with suppress(KeyboardInterrupt):
        for event in client.events(after):
            if as_json:
                print(json.dumps(event), flush=True)
            else:
                console.print(tables.event(event))
                sys.stdout.flush()


def push(
    client: Client,
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration file.")],
    comment: Comment = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Let the controller check it only.")] = False,
    base: Annotated[
        int | None, typer.Option(min=1, metavar="VERSION", help="Only if this version is in force; else any.")
    ] = None,
    wait: WaitForNodes = None,
    as_json: Json = False,
) -> None:
    """Put a configuration in force."""
    text = _read(path)
    answer = client.change(
        "PUT",
        "/configuration",
        text=text,
        if_match="*" if base is None else f'"{base}"',
        comment=comment,
        dry_run=dry_run,
    )
    verb = "would be accepted; in force is" if dry_run else "in force:"
    _print(answer.document, as_json, lambda pushed: f"{path}: {verb} version {pushed['version']}")
    if wait is not None and not dry_run:
        _wait_for_nodes(client, answer.document["version"], wait, quiet=as_json)


def rollback(
    client: Client,
    version: Annotated[int | None, typer.Argument(min=1, help="By default the one before.")] = None,
    wait: WaitForNodes = None,
    as_json: Json = False,
) -> None:
    """Put an earlier configuration in force again."""
    answer = client.change("POST", "/configuration/rollback", json={"version": version})
    _print(answer.document, as_json, lambda pushed: f"in force: version {pushed['version']}")
    if wait is not None:
        _wait_for_nodes(client, answer.document["version"], wait, quiet=as_json)


def _wait_for_nodes(client: Client, version: int, timeout_s: float, *, quiet: bool) -> None:
    deadline = time.monotonic() + timeout_s
    with Live(console=_console(stderr=True, quiet=quiet), refresh_per_second=4, transient=True) as live:
        while True:
            rows = [row for row in client.get("/tables/nodes") if row["configuration_version"] is not None]
            behind = [row for row in rows if row["configuration_version"] != version]
            if not behind:
                return
            if time.monotonic() >= deadline:
                why = "; ".join(f"{row['node']} {row['configuration_error'] or 'has said nothing'}" for row in behind)
                raise NotNowError(
                    "", f"version {version} is in force, but not on all nodes after {timeout_s:g} s: {why}"
                )
            live.update(tables.rollout(version, len(rows), behind))
            time.sleep(_POLL_S)


def versions(client: Client, as_json: Json = False) -> None:
    """The configuration's versions."""
    _print(client.get_all("/configuration/versions"), as_json, tables.versions)


def top(
    client: Client,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 1.0,
) -> None:
    """The array, live; Ctrl-C ends it. While it can't be asked, as during a fail-over, the last look stays."""
    with suppress(KeyboardInterrupt):
        shown, trouble = _show_overview(_overview(client)), ""
        with Live(console=_console(), screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(trouble, "", shown) if trouble else shown, refresh=True)
                time.sleep(interval)
                try:
                    shown, trouble = _show_overview(_overview(client)), ""
                except (NotNowError, UnreachableError) as error:
                    trouble = f"{error}; seen last:"


def token(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[RoleName, typer.Argument(help="What its holder may do.")],
) -> None:
    """Make a bearer token: on standard output the token, on standard error its line for the controller's token file."""
    from controller.api.access import Role, make_token

    text, entry = make_token(name, Role(role.value))
    print(text)
    print(f"- {{name: {entry.name}, role: {entry.role}, sha256: {entry.sha256}}}", file=sys.stderr)


def _read(path: Path) -> str:
    from pentaflow.files import read_file

    try:
        return read_file(path, str(path)).decode()
    except UnicodeDecodeError:
        raise ConfigurationError(str(path), "not UTF-8") from None


def register(app: typer.Typer) -> None:
    """Add the operator's commands to the command line."""
    looking = (status, top, nodes, servers, vservers, buckets, explain, why, events, ticket_keys, session_ids)
    changing = (plan, apply, drain, push, rollback, versions)
    for command in (*looking, *changing):
        app.command(rich_help_panel=_PANEL)(asking(command))
    app.command(rich_help_panel=_PANEL)(token)
