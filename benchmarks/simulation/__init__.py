"""A trace of connections, replayed against ways to choose a node for each packet: which connections break? (pure)."""
