"""`python -m pentaflow` is the `pentaflow` command."""

from pentaflow.cli import main

main()
