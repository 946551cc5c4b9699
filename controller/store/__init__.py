"""The fenced key-value store: what must outlive a controller, and who of several controllers leads [H4]."""
