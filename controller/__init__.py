"""The controller: pure bucket, health and layer-2 cores behind a P4Runtime and REST shell."""
