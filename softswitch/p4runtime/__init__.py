"""The P4Runtime server: pure checks and codecs behind a gRPC shell."""
