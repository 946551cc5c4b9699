"""What the controller writes to a switch, as plain values, and what it needs of the P4 program for that.

`TABLES`, `LEARN_FIELDS`, `PACKET_IN_FIELDS` and `PACKET_OUT_FIELDS` are the contract between controller and
`p4/pentaflow.p4`: `controller/p4info.py` checks a P4Info against them, `controller/codec.py` encodes with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

# As in p4/ids.p4.
CPU_PORT = 510
DEFAULT_FLOOD_GROUP = 1
UNTAGGED = 0


class Kind(StrEnum):
    """The entities that the controller owns: tables by their P4Info alias, and two that are no tables."""

    SLOT = "slot"
    BUCKET = "bucket"
    VSERVER = "vserver"
    VSERVER_V6 = "vserver_v6"
    ARP = "arp"
    ND = "nd"
    ADMIT = "admit"
    FLOOD = "flood"
    SMAC = "smac"
    DMAC = "dmac"
    MULTICAST_GROUP = "multicast_group"
    DIGEST = "digest"


class Key(NamedTuple):
    """Which entity: match values in the order of `TABLES`, the group's id, or nothing for the digest."""

    kind: Kind
    match: tuple[int, ...]


class Entry(NamedTuple):
    """What an entity says: action parameters in the order of `TABLES`.

    For a multicast group the parameters are its ports in ascending order; for the digest they are max_timeout_ns,
    max_list_size and ack_timeout_ns. `other_action` is one of the table's `other_actions`, "" its usual one.
    """

    params: tuple[int, ...] = ()
    idle_timeout_ns: int = 0
    other_action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table as the controller uses it: match fields (all exact) and the actions it sets; name → width in bits.

    Attributes:
        fields: match fields.
        action: the usual action.
        params: its parameters.
        other_actions: the other actions that entries may have, and their parameters.
        idle_timeout: whether entries say when they are idle.
    """

    fields: Mapping[str, int]
    action: str
    params: Mapping[str, int]
    other_actions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    idle_timeout: bool = False

    def actions(self) -> Mapping[str, Mapping[str, int]]:
        """All actions by the names that entries give them: "" for the usual one."""
        return {"": self.params, **self.other_actions}

    def p4_name(self, action: str) -> str:
        """The name that P4Info gives an action of `actions`."""
        return action or self.action


SPLIT_SLOT = "split_slot"
_VSERVER_PARAMS = {"vserver_id": 16, "bucket_mask": 16, "hash_key_kind": 2, "hash_key": 64, "packet_in_limit": 16}

TABLES: Mapping[Kind, TableSpec] = {
    Kind.SLOT: TableSpec(fields={"slot": 16}, action="set_node", params={"node_id": 16, "node_mac": 48, "port": 9}),
    Kind.BUCKET: TableSpec(
        fields={"vserver_id": 16, "bucket": 16},
        action="set_slot",
        params={"slot": 16},
        other_actions={SPLIT_SLOT: {"new_slot": 16, "old_slot": 16, "window": 32}},
        idle_timeout=True,
    ),
    Kind.VSERVER: TableSpec(
        fields={"dst_addr": 32, "protocol": 8, "dst_port": 16},
        action="set_vserver",
        params=_VSERVER_PARAMS,
    ),
    Kind.VSERVER_V6: TableSpec(
        fields={"dst_addr": 128, "protocol": 8, "dst_port": 16}, action="set_vserver", params=_VSERVER_PARAMS
    ),
    Kind.ARP: TableSpec(fields={"vlan_id": 12, "target_addr": 32}, action="arp_reply", params={"mac": 48}),
    Kind.ND: TableSpec(fields={"vlan_id": 12, "target_addr": 128}, action="nd_reply", params={"mac": 48}),
    Kind.ADMIT: TableSpec(fields={"vlan_id": 12, "dst_mac": 48}, action="admit_to_scheduler", params={}),
    Kind.FLOOD: TableSpec(fields={"vlan_id": 12}, action="flood_to", params={"group": 16}),
    Kind.SMAC: TableSpec(
        fields={"vlan_id": 12, "src_mac": 48, "ingress_port": 9}, action="known", params={}, idle_timeout=True
    ),
    Kind.DMAC: TableSpec(fields={"vlan_id": 12, "dst_mac": 48}, action="forward", params={"port": 9}),
}
LEARN_DIGEST = "learn_t"
LEARN_FIELDS: Mapping[str, int] = {"vlan_id": 12, "src_mac": 48, "ingress_port": 9}
PACKET_IN_FIELDS: Mapping[str, int] = {"ingress_port": 9, "reason": 7, "vserver_id": 16, "bucket": 16}
PACKET_OUT_FIELDS: Mapping[str, int] = {"egress_port": 9, "submit_to_ingress": 1, "unused_pad": 6}
TRANSIT_REGISTERS = ("transit_first", "transit_second")
DROPS_COUNTER = "drops"
