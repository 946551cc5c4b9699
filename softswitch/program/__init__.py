"""What a pipeline is: p4c's BMv2 JSON as plain values with structured control flow."""
