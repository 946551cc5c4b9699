"""The declared topologies by name."""

from __future__ import annotations

from topologies.inline import INLINE

TOPOLOGIES = {topology.name: topology for topology in (INLINE,)}
