"""Sockets without an event loop's frames: one poller, plain and TLS streams, listeners (Cython)."""
