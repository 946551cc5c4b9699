"""`make bench`: speed measured side by side with a peer in one run. docs/benchmarks.md says what each row means."""
