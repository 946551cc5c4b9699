"""The declared topologies by name."""

from __future__ import annotations

from topologies.inline import INLINE
from topologies.redundant import REDUNDANT

TOPOLOGIES = {topology.name: topology for topology in (INLINE, REDUNDANT)}
