"""For all tests."""

from __future__ import annotations

import signal

# What runs in the background of a shell ignores SIGINT, and what it starts would, too: tests interrupt commands.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
