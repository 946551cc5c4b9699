"""Choosing a server of a pool."""
