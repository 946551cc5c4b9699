"""A pipeline as one straight-line Python function."""
