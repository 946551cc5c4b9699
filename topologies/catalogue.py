"""The declared topologies by name."""

from __future__ import annotations

from topologies.dual_stack import INLINE_DUAL, REDUNDANT_DUAL
from topologies.inline import INLINE
from topologies.redundant import REDUNDANT

TOPOLOGIES = {topology.name: topology for topology in (INLINE, REDUNDANT, INLINE_DUAL, REDUNDANT_DUAL)}
