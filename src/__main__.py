"""`python -m superem` in a checkout, `python -m chimerax.superem` where the wheel is installed."""

import signal
import sys

from .cli import main

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # how a queue stops a job: clean up as for Ctrl-C
sys.exit(main())
