"""`python -m superem` in a checkout, `python -m chimerax.superem` where the wheel is installed."""

import io
import os
import signal
import sys
from typing import TextIO

from .cli import INTERRUPTED, main


class Lasting(io.TextIOWrapper):
    """A stream that may go away: a closed terminal or pipe, or a log on a full disk, must not end an hour's work."""

    def write(self, text: str) -> int:
        """Write what can still be written."""
        try:
            return super().write(text)
        except OSError:
            self._go_on_without()
            return len(text)

    def flush(self) -> None:
        """Write what waits, if it can still be written."""
        try:
            super().flush()
        except OSError:
            self._go_on_without()

    def _go_on_without(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # so that what waits in the buffer can be got rid of, too
        os.close(nowhere)


def lasting(stream: TextIO | None, errors: str) -> TextIO:
    """A standard stream as one that may go away, or be missing from the start."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream or open(os.devnull, "w")
    encoding, buffered, through = stream.encoding, stream.line_buffering, stream.write_through
    return Lasting(stream.detach(), encoding, errors, line_buffering=buffered, write_through=through)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # how a queue stops a job: clean up as for Ctrl-C
sys.stdout = lasting(sys.stdout, "replace")  # nor a terminal or log that knows no Å
sys.stderr = lasting(sys.stderr, "backslashreplace")
code = main()
if code == INTERRUPTED and os.name == "posix":  # end by the signal itself, or a shell's loop over maps goes on with the next
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
sys.exit(code)
