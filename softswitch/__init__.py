"""The embedded P4Runtime switch: BMv2 JSON loader, compiled pipeline, run-time state, gRPC server, ports."""
