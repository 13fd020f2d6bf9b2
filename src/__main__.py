"""Entry point: `python -m superem` in a checkout, `python -m chimerax.superem` where the wheel is installed."""

import io
import os
import signal
import sys
from typing import TextIO

on_interrupt = signal.getsignal(signal.SIGINT)
if on_interrupt is signal.default_int_handler:  # not if Ctrl-C is ignored, as in the background of a shell
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # during the imports, it ends the process without a traceback
from .cli import INTERRUPTED, main  # noqa: E402

signal.signal(signal.SIGINT, on_interrupt)


class TolerantStream(io.TextIOWrapper):
    """A text stream that survives the loss of its output.

    A closed terminal or pipe, or a log on a full disk, must not end an hour's work.
    """

    def write(self, text: str) -> int:
        """Write `text`, or discard it once the output is lost."""
        try:
            return super().write(text)
        except OSError:
            self._go_on_without()
            return len(text)

    def flush(self) -> None:
        """Flush the buffer, or discard it once the output is lost."""
        try:
            super().flush()
        except OSError:
            self._go_on_without()

    def _go_on_without(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # so that the rest of the buffer can be flushed without an error
        os.close(nowhere)


def tolerant(stream: TextIO | None, errors: str) -> TextIO:
    """Wrap a standard stream so that losing its output is no error; a missing one is replaced by the null device."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream or open(os.devnull, "w")
    encoding, buffered, through = stream.encoding, stream.line_buffering, stream.write_through
    return TolerantStream(stream.detach(), encoding, errors, line_buffering=buffered, write_through=through)


for name in ("SIGTERM", "SIGHUP"):  # a queueing system stops the job, or its terminal is closed: clean up as after Ctrl-C
    sent = getattr(signal, name, None)  # Windows has no SIGHUP
    if sent and signal.getsignal(sent) != signal.SIG_IGN:  # as with nohup
        signal.signal(sent, lambda number, _frame: sys.exit(128 + number))
sys.stdout = tolerant(sys.stdout, "replace")  # the terminal or log may be unable to encode Å
sys.stderr = tolerant(sys.stderr, "backslashreplace")
code = main()
# End by the signal itself, so that a shell loop over maps stops too.
if code == INTERRUPTED and os.name == "posix":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
sys.exit(code)
