"""Estimates of a run, made on a worker thread: loading PyTorch and timing a batch take seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.density import DensityMap
from ..core.devices import Device, DeviceError, available
from ..core.memory import free_memory
from ..job import QUIT_WAIT
from ..nets.store import DEFAULT
from ..prediction import USER_ERRORS
from ..volumes import region_with_context
from .choices import Choices

if TYPE_CHECKING:
    from ..core.estimate import Estimate


@dataclass(frozen=True)
class Question:
    """The run to be estimated: number of voxels (zyx), voxel size (Å, xyz) and those of the panel's choices that count."""

    shape: tuple[int, int, int]
    step: tuple[float, float, float]
    choices: Choices


def question(volume: Any, choices: Choices) -> Question:
    """Return the question for a run on a Volume, or on its shown part and the context that the network sees around that."""
    (i0, j0, k0), (i1, j1, k1) = region_with_context(volume, (1, 1, 1), choices.subregion)
    shape = (k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    x, y, z = (float(s) for s in volume.data.step)
    return Question(shape, (x, y, z), replace(choices, subregion="all", resolution=0.0, reliability=False))


def find_devices(_asked: Any, _stopped: Callable[[], bool]) -> list[Device] | str:
    """Return the available devices, best first, or a sentence that says how to fix PyTorch."""
    try:
        return available()
    except DeviceError as error:
        return str(error)


def estimate_run(asked: Question, stopped: Callable[[], bool]) -> Estimate | str:
    """Return the estimate of a run, or a sentence that says what prevents it; takes seconds, and loads PyTorch."""
    from ..core.estimate import estimate
    from ..nets.store import load

    choices = asked.choices
    try:
        outline = DensityMap(np.broadcast_to(np.float32(0), asked.shape), step=asked.step)
        return estimate(outline, load(choices.model or DEFAULT), choices.tiling, choices.device, grid=choices.grid,
                        rotations=int(choices.rotations) if choices.rotations else None,
                        batch_size=choices.batch_size or None, cancelled=stopped)
    except USER_ERRORS as error:
        return str(error)


def estimate_text(found: Estimate) -> str:
    """Return an estimate in words, with a warning if too little memory is free now."""
    gpu = f" and {memory(found.gpu_memory)} of GPU memory" if found.gpu_memory else ""
    free = free_memory()
    short = f" Only {memory(free)} are free: choose a part of the map." if free is not None and found.memory > free else ""
    return (f"About {duration(found.seconds)} for {found.tiles} tile{'s' if found.tiles > 1 else ''} on {found.device.label}, "
            f"less where the map is empty; about {memory(found.memory)} of memory{gpu}.{short}")


def duration(seconds: float) -> str:
    """Return a duration in words, rounded as coarsely as an estimate allows."""
    if seconds < 10:
        return "10 seconds"
    if seconds < 90:
        return f"{round(seconds, -1):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:.0f} hours" if hours >= 10 else f"{hours:.1f} hours"


def memory(count: float) -> str:
    """Return a number of bytes in words."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"


class AnswerThread:
    """Answers the newest question on a worker thread; older questions that still wait are dropped.

    Answers are cached, except strings: these report an error, which may be fixed before the question is asked again.
    When ChimeraX quits, it waits for the thread, even after the panel was closed, since the thread may still be loading
    PyTorch.

    Parameters
    ----------
    session : chimerax.core.session.Session
    find : callable
        ``find(question, stopped)``, called on the worker thread, returns the answer. Once ``stopped()`` is true, the
        answer is not needed any more.
    answered : callable
        ``answered(question, answer)``, called on the main thread.
    """

    def __init__(
        self, session: Any, find: Callable[[Any, Callable[[], bool]], Any], answered: Callable[[Any, Any], None]
    ) -> None:
        self._session, self._find, self._answered = session, find, answered
        self._post = session.ui.thread_safe  # passes a call to the main thread
        self._quit_handler: Any = None  # set while a thread works
        self._lock = threading.Lock()
        self._waiting: Any = None  # the next question
        self._working = False
        self._known: dict[Any, Any] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, asked: Any) -> None:
        """Request the answer to a question; a known answer is delivered at once."""
        with self._lock:
            if asked in self._known:
                self._waiting = None
                self._post(self._answered, asked, self._known[asked])
                return
            self._waiting = asked
            if self._working:
                return
            self._working = True
        if self._quit_handler is None:
            self._quit_handler = self._session.triggers.add_handler("app quit", self._quit)
        self._thread = threading.Thread(target=self._work, daemon=True, name="superem estimate")
        self._thread.start()

    def forget(self) -> None:
        """Deliver no more answers."""
        self._stopped.set()
        with self._lock:
            self._waiting = None
            self._answered = lambda *_answer: None

    def _quit(self, *_trigger: Any) -> None:
        self.forget()
        if self._thread is not None:
            self._thread.join(QUIT_WAIT)

    def _ended(self) -> None:
        if not self._working and self._quit_handler is not None:  # otherwise a new question has come meanwhile
            self._quit_handler.remove()
            self._quit_handler = None

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._waiting is None:
                    self._working = False
                    self._post(self._ended)
                    return
                asked, self._waiting = self._waiting, None
            answer: Any
            try:
                answer = self._find(asked, self._stopped.is_set)
            # No traceback: an estimate is optional, and the run itself reports the error in full.
            except Exception as error:
                answer = f"No estimate: {error}"
            if not isinstance(answer, str):
                with self._lock:
                    self._known[asked] = answer
            self._post(lambda asked=asked, answer=answer: self._answered(asked, answer))
