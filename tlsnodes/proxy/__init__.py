"""The proxy: what the connections of clients and servers do with each other (Cython)."""
