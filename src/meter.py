"""Progress of a prediction: tiles done, time left, and a status line that shows both."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between two progress reports from a worker thread to the window.
REPORT_EVERY = 0.25
#: Seconds of work, and tiles, before the time left is estimated: a network's first layers take far longer than most.
MIN_SECONDS = 1.0
MIN_TILES = 0.25


class Meter:
    """Progress callback for the core; regularly posts the tiles done, their total and the seconds left.

    The core calls it before every layer of the network, with fractions of a tile, since a tile may take half a minute.
    """

    every = REPORT_EVERY

    def __init__(self, post: Callable[[float, int, float | None], None], cancelled: Callable[[], bool] | None = None):
        self._post, self._cancelled = post, cancelled
        self._began = (0.0, 0.0)
        self._done = float("inf")
        self._posted = float("-inf")

    def __call__(self, done: float, total: int) -> bool:
        """Record that `done` of `total` tiles are done; return whether to continue."""
        now = time.monotonic()
        if done < self._done:  # first call, or a restart: with smaller batches, or on the CPU instead of a GPU
            self._began = (now, done)
        ended = done == total and done != self._done
        self._done = done
        if now - self._posted >= self.every or ended:
            self._posted = now
            since, before = self._began
            enough = done > before and (done == total or (now - since > MIN_SECONDS and done - before >= MIN_TILES))
            left = (now - since) * (total - done) / (done - before) if enough else None
            self._post(done, total, left)
        return not (self._cancelled and self._cancelled())


def status_text(title: str, done: float, total: int, seconds_left: float | None) -> str:
    """Return one line for the status bar or the log."""
    text = f"{title}: {int(done)} of {total} tile{'s' if total > 1 else ''}"
    if done == total:
        return f"{text}, finishing"
    if seconds_left is None:
        return text
    minutes, seconds = divmod(round(seconds_left), 60)
    if minutes < 60:
        return f"{text}, {minutes}:{seconds:02d} left"
    return f"{text}, {minutes // 60} h {minutes % 60:02d} min left"
