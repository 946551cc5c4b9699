"""Declared topologies: data, no behaviour."""
