"""`python -m superem` in a checkout, `python -m chimerax.superem` where the wheel is installed."""

import io
import signal
import sys

from .cli import main

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # how a queue stops a job: clean up as for Ctrl-C
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")  # a terminal or log that knows no Å must not end an hour's work
sys.exit(main())
