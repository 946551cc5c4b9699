"""The P4Runtime message classes; finsy ships them, and of finsy nothing else comes through here."""

from __future__ import annotations

from finsy.proto import p4d as p4d
from finsy.proto import p4i as p4i
from finsy.proto import p4r as p4r
from finsy.proto import p4t as p4t
from finsy.proto import rpc_status as rpc_status
