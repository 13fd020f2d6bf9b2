"""How far a prediction is: tiles and parts of them, the time that is left, and a line that tells both."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between two reports of progress from a worker thread to the window.
REPORT_EVERY = 0.25
#: Seconds of work, and tiles, before the time left is told from them: a network's first layers take far longer than most.
TELLING = 1.0
TELLING_TILES = 0.25


class Meter:
    """Progress callback for the core: posts, now and then, tiles done, their total and the seconds left.

    The core calls before every layer of the network, with parts of a tile, which may take half a minute.
    """

    every = REPORT_EVERY

    def __init__(self, post: Callable[[float, int, float | None], None], cancelled: Callable[[], bool] | None = None):
        self._post, self._cancelled = post, cancelled
        self._began = (0.0, 0.0)
        self._done = float("inf")
        self._posted = float("-inf")

    def __call__(self, done: float, total: int) -> bool:
        """Return whether to go on, `done` tiles of `total` being done."""
        now = time.monotonic()
        if done < self._done:  # the first time, or begun again: with smaller batches, or on the CPU in place of a GPU
            self._began = (now, done)
        ended = done == total and done != self._done
        self._done = done
        if now - self._posted >= self.every or ended:
            self._posted = now
            since, before = self._began
            told = done > before and (done == total or (now - since > TELLING and done - before >= TELLING_TILES))
            left = (now - since) * (total - done) / (done - before) if told else None
            self._post(done, total, left)
        return not (self._cancelled and self._cancelled())


def status_text(title: str, done: float, total: int, seconds_left: float | None) -> str:
    """One line for the status bar."""
    text = f"{title}: {int(done)} of {total} tile{'s' if total > 1 else ''}"
    if done == total:
        return f"{text}, finishing"
    if seconds_left is None:
        return text
    minutes, seconds = divmod(round(seconds_left), 60)
    return f"{text}, {minutes}:{seconds:02d} left"
