"""HTTP/1.1 sans I/O: reading, checking and rebuilding messages (RFC 9110, RFC 9112)."""
