"""One module for each row of the table; each defines `BENCHMARK`."""
