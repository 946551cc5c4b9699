"""Tables of the command line (pure): the API's documents as rich renderables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pentaflow.addresses import with_port

_STYLES = {
    "up": "green",
    "ready": "green",
    "active": "green",
    "down": "bold red",
    "disconnected": "bold red",
    "unknown": "yellow",
    "reconciling": "yellow",
    "backup": "yellow",
    "draining": "yellow",
    "retiring": "yellow",
    "maintenance": "cyan",
}
_MS_PER_S = 1000
_DASH = "-"


def _table(*columns: str, title: str = "") -> Table:
    table = Table(title=title or None, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in columns:
        numeric = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if numeric else "left", overflow="fold")
    return table


def _word(value: Any) -> Text:
    return Text(str(value), style=_STYLES.get(str(value), ""))


def _number(value: float | None, form: str = ",") -> str:
    return _DASH if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """A duration in the two largest units that it has."""
    if seconds is None:
        return _DASH
    parts: list[str] = []
    rest = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def nodes(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /tables/nodes`."""
    table = _table(
        "node",
        "intent",
        "health",
        ">weight",
        ">buckets",
        ">open",
        ">hits",
        ">response ms",
        ">failed",
        ">version",
        "mac",
        "management",
    )
    for row in rows:
        table.add_row(
            row["node"],
            _word(row["state"]),
            _word(row["health"]),
            str(row["weight"]),
            _number(row["buckets"]),
            _number(row["open_connections"]),
            _number(row["hits"]),
            _number(row["response_ms"], ".1f"),
            _number(row["failed"]),
            _number(row["configuration_version"]),
            row["mac"],
            row["management"] or _DASH,
        )
    return table


def rollout(version: int, total: int, behind: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How many of `total` nodes run a version; `behind`: those of `GET /tables/nodes` that do not."""
    done = total - len(behind)
    head = Table.grid(padding=(0, 1))
    head.add_row(
        ProgressBar(total=max(total, 1), completed=done, width=30), f"{done} of {total} nodes run version {version}"
    )
    table = _table("node", ">version", "")
    for row in behind:
        table.add_row(row["node"], _number(row["configuration_version"]), row["configuration_error"])
    return Group(head, table)


def vservers(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /vservers`."""
    table = _table("vserver", "vip", ">buckets", "hash", "pool", "active switch", "nodes")
    for row in rows:
        shares = ", ".join(f"{node} {count:,}" for node, count in row["node_buckets"].items())
        active = row["active_switch"] or _DASH
        address = f"{with_port(row['vip'], row['port'])}/{row['protocol']}"
        table.add_row(
            row["name"], address, f"{row['buckets']:,}", row["hash"], row["pool"] or row["mode"], active, shares
        )
    return table


def buckets(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /tables/buckets`."""
    table = _table(">bucket", ">slot", "node", "split from", ">packets", ">bytes", ">last access")
    for row in rows:
        slot = _DASH if row["slot"] is None else str(row["slot"])
        last = _DASH if row["last_access_s"] is None else f"{row['last_access_s']:.1f} s"
        table.add_row(
            str(row["bucket"]),
            slot,
            row["node"] or _DASH,
            row["old_node"] or "",
            f"{row['packets']:,}",
            f"{row['octets']:,}",
            last,
        )
    return table


def servers(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /tables/servers`."""
    table = _table("node", "vserver", "server", "address", ">open", ">hits", ">failures", ">response ms")
    for row in rows:
        table.add_row(
            row["node"],
            row["vserver"],
            row["server"],
            row["address"],
            _number(row["open_connections"]),
            _number(row["hits"]),
            _number(row["failures"]),
            _number(row["response_ms"], ".1f"),
        )
    return table


def switches(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /switches`."""
    table = _table("switch", "p4runtime", "state", "active for", ">stations", "error")
    for row in rows:
        active = ", ".join(row["active_for"]) or _DASH
        table.add_row(row["name"], row["grpc"], _word(row["state"]), active, str(row["stations"]), row["error"])
    return table


def alarms(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """`GET /alarms`."""
    if not rows:
        return Text("no alarms", style="green")
    table = _table("alarm", "subject", "for", "reason")
    for row in rows:
        table.add_row(Text(row["kind"], style="bold red"), row["subject"], duration(row["since_s"]), row["reason"])
    return table


def summary(row: Mapping[str, Any]) -> Text:
    """`GET /tables/summary`."""
    split = f" ({row['buckets_split']:,} split)" if row["buckets_split"] else ""
    return Text(
        f"{row['nodes_up']}/{row['nodes']} nodes up · {row['switches_ready']}/{row['switches']} switches ready · "
        f"{row['vservers']} vservers, {row['buckets']:,} buckets{split} · "
        f"{row['open_connections']:,} open connections · "
        f"{row['hits']:,} hits, {row['failed']:,} failed · {row['alarms']} alarms"
    )


def drains(found: Mapping[str, Any]) -> RenderableType:
    """`GET /drains`, with a bar for each node."""
    if not found["nodes"]:
        return Text("nothing moves")
    table = _table("node", "intent", "", ">moved", ">split", ">waiting", ">open", "forced")
    for row in found["nodes"]:
        total = row["buckets_waiting"] + row["buckets_split"] + row["buckets_moved"]
        bar = ProgressBar(total=max(total, 1), completed=row["buckets_moved"] if total else 1, width=30)
        table.add_row(
            row["node"],
            Text("drained", style="green") if row["drained"] else _word(row["intent"]),
            bar,
            f"{row['buckets_moved']:,}",
            f"{row['buckets_split']:,}",
            f"{row['buckets_waiting']:,}",
            f"{row['connections_left']:,}",
            _DASH if row["deadline_ms"] is None else moment(row["deadline_ms"]),
        )
    if found["reason"] is None:
        return table
    end = "" if found["estimate_s"] is None else f", done in about {duration(found['estimate_s'])}"
    return Group(Text(f"buckets move: {found['reason']}{end}"), table)


def plan(row: Mapping[str, Any]) -> RenderableType:
    """A plan."""
    risk = "unknown" if row["connections_at_risk"] is None else f"{row['connections_at_risk']:,}"
    head = Text(
        f"plan {row['id']}: {row['buckets']:,} buckets move in {row['waves']} waves; open connections in them: {risk}\n"
        f"made for configuration {row['configuration_version']}, map {row['map_version']}"
    )
    flows = _table("vserver", "from", "to", ">buckets")
    for flow in row["flows"]:
        flows.add_row(flow["vserver"], flow["from_node"] or _DASH, flow["to_node"], f"{flow['buckets']:,}")
    shares = _table("node", ">before", ">after")
    for node, before in row["nodes_before"].items():
        shares.add_row(node, f"{before:,}", f"{row['nodes_after'][node]:,}")
    return Group(head, "", flows, "", shares)


def session_ids(rows: Iterable[Mapping[str, Any]]) -> RenderableType:
    """`GET /session-ids`."""
    parts: list[RenderableType] = []
    for row in rows:
        state = "as configured" if row["is_as_configured"] else "not as configured: `session-ids plan` says what to do"
        head = f"{row['vserver']}, version {row['version']}, {row['exceptions']} exceptions: {state}"
        if row["behind"]:
            head += f"; not yet known to {', '.join(row['behind'])}"
        parts += [Text(head), _id_groups(row["groups"])]
    return Group(*parts) if parts else Text("no vserver has persistence.session_ids")


def session_id_plan(row: Mapping[str, Any]) -> RenderableType:
    """What a re-plan of session ids would do, or has done."""
    return Group(Text(f"plan {row['id']}: {row['moves']:,} keys are no longer issued"), _id_groups(row["after"]))


def _id_groups(groups: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("keys", ">size", "stage", "server", "heir", "drained by")
    for group in groups:
        ends = moment(group["ends_s"] * _MS_PER_S) if group["ends_s"] else _DASH
        table.add_row(
            group["keys"],
            f"{group['size']:,}",
            _word(group["stage"]),
            group["server"] or _DASH,
            group["heir"] or _DASH,
            ends,
        )
    return table


def explanation(row: Mapping[str, Any]) -> RenderableType:
    """`GET /explain`."""
    node = row["node"] or "no node"
    since = "" if row["since_s"] is None else f" for {duration(row['since_s'])}"
    head = Text(f"{row['client']} of {row['vserver']} is served by {node}{since}", style="bold")
    return Group(head, *(Text(f"  {reason}") for reason in row["reasons"]))


def session(row: Mapping[str, Any]) -> RenderableType:
    """`GET /sessions/{name}`."""
    by = row["chosen_by"]
    if row["refusal"] is not None:
        outcome = f"no server, {row['refusal']}"
    elif row["server"] is not None:
        outcome = f"server {row['server']} of pool {row['pool']}, by {by}"
    elif by == "policy":
        outcome = f"whichever server of pool {row['pool']} policy {row['policy']} chooses"
    else:
        outcome = f"a server of pool {row['pool']} by {by}, which the question does not say"
    table = _table("by", "verdict", "server")
    for step in row["steps"]:
        table.add_row(step["by"], step["verdict"].replace("_", " "), step["server"] or _DASH)
    return Group(Text(f"{row['vserver']} at {row['node']}: {outcome}", style="bold"), table)


def event(row: Mapping[str, Any]) -> Text:
    """An event in one line."""
    details = " ".join(f"{key}={value}" for key, value in row["details"].items() if value != "")
    return Text.assemble((f"{row['id']:>6} {moment(row['at_ms'])} ", "dim"), (row["kind"], "bold"), f" {details}")


def versions(rows: Iterable[Mapping[str, Any]]) -> Table:
    """`GET /configuration/versions`."""
    table = _table(">version", "", "made", "by", "comment")
    for row in rows:
        mark = Text("in force", style="green") if row["in_force"] else Text("")
        table.add_row(str(row["version"]), mark, moment(row["at_s"] * _MS_PER_S), row["who"], row["comment"])
    return table


def moment(at_ms: float) -> str:
    """A time of day, with the date, in UTC."""
    return datetime.fromtimestamp(at_ms / _MS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ticket_keys(found: Mapping[str, Any]) -> RenderableType:
    """`GET /ticket-keys`."""
    if not found["version"]:
        return "nodes make ticket keys of their own"
    keys = _table("vserver", "key", "state", ">for")
    for ring in found["vservers"]:
        for key in ring["keys"]:
            keys.add_row(ring["name"], key["name"], _word(key["state"]), duration(key["age_s"]))
    nodes = _table("node", ">version", "has all", "counts")
    for row in found["nodes"]:
        nodes.add_row(
            row["node"], str(row["version"]), *("yes" if row[name] else "no" for name in ("current", "counts"))
        )
    where = "kept sealed in the store" if found["kept"] else "kept in the leader's memory only"
    return Group(f"version {found['version']}, {where}", "", keys, "", nodes)
