"""What controller, nodes and switches share: configuration, errors, the bucket hash, the command line."""
