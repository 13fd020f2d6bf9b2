"""Long jobs: one prediction at a time on a worker thread, the others in line, the window alive meanwhile.

The worker thread touches numpy and torch only. The map is read before it starts and the new Volume is made
after it ended, both on the main thread. In scripts and without a window `run_now` does the same inline.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from chimerax.core.errors import UserError
from chimerax.core.tasks import Task
from chimerax.core.triggerset import TriggerSet

from . import volumes
from .core.density import DensityMap, MapError, check, crop
from .core.devices import DeviceError
from .nets.store import DEFAULT, WeightsError
from .provenance import CAUTION

#: Seconds between two reports of progress from a worker thread to the window.
REPORT_EVERY = 0.25
#: Seconds of work before the time left is told from it.
TELLING = 1.0
#: What the user can mend; the message is one sentence.
USER_ERRORS = (MapError, DeviceError, WeightsError)


@dataclass(frozen=True)
class Settings:
    """How a prediction is made; the fields are the keywords of the command."""

    device: str = "auto"
    model: str = DEFAULT
    tiling: str = "normal"
    rotations: int = 1
    batch_size: int | None = None
    grid: str = "1A"  # or "input"
    resolution: float | None = None  # Å, of the map


@dataclass(frozen=True)
class Request:
    """A map to work on, which part of it, how, and what becomes of the result."""

    volume: Any
    settings: Settings = field(default_factory=Settings)
    step: Any = 1
    subregion: Any = "all"
    model_id: tuple[int, ...] | None = None
    hide_maps: bool = False


def run_now(session: Any, request: Request) -> Any:
    """Make the super-resolved map before returning.

    Raises
    ------
    UserError
        With one sentence, for anything that the user can mend.
    """
    title = f"superem of {request.volume.name}"
    meter = Meter(lambda *progress: session.logger.status(status_text(title, *progress)))
    try:
        part, seen = read(request)
        announce(session)
        enhanced = predict(part, seen, request.settings, meter)
        result, _lines = show(session, request, part, enhanced)
    except USER_ERRORS as error:
        raise UserError(str(error)) from error
    finally:
        session.logger.status("")
    return result


def read(request: Request) -> tuple[DensityMap, DensityMap]:
    """Read the part of the map that is asked for, and the same with what the network is to see around it.

    Raises
    ------
    MapError
        If it cannot be worked on.
    """
    volume, step = request.volume, request.step
    part = volumes.density_of(volume, step, request.subregion)
    check(part)
    seen = volumes.density_of(volume, step, volumes.region_with_context(volume, step, request.subregion))
    return part, part if seen.shape == part.shape else seen


def announce(session: Any) -> None:
    """Say where the time goes when PyTorch is loaded for the first time."""
    if "torch" not in sys.modules:
        session.logger.info("superem loads PyTorch, which takes a moment the first time in a session.")
        session.logger.status("superem: loading PyTorch ...")


def predict(part: DensityMap, seen: DensityMap, settings: Settings, progress: Meter) -> Any:
    """Run the network on what `read` gave; numpy and torch only, so any thread will do. Returns a core `Enhanced` of `part`."""
    from .core.devices import import_torch
    from .core.predict import enhance
    from .nets.store import load

    import_torch()  # says how to install it, where it is missing
    model = load(settings.model)
    progress.layers, progress.turns = sum(not any(m.children()) for m in model.network.modules()), settings.rotations
    enhanced = enhance(
        seen, model, tiling=settings.tiling, device=settings.device,
        batch_size=settings.batch_size, rotations=settings.rotations, grid=settings.grid,
        resolution=settings.resolution, progress=progress,
    )
    return enhanced if seen is part else replace(enhanced, density=crop(enhanced.density, part))


def show(session: Any, request: Request, density: DensityMap, enhanced: Any) -> tuple[Any, list[str]]:
    """Open the result beside its input at a matched level, and log what was done."""
    source, report, model_id = request.volume, enhanced.report, request.model_id
    if model_id is not None and session.models.have_id(model_id):  # taken since the job was asked for
        model_id = None
    result = volumes.volume_of(session, enhanced.density, source, model_id)
    try:
        levels = volumes.match_levels(result, source, density)
    except BaseException:
        session.models.close([result])
        raise
    if request.hide_maps:
        source.display = False
    lines = [
        f"{result.name} #{result.id_string} of {source.name} #{source.id_string}. {report.summary()}",
        *report.notes,
        *(f"Level {old:.4g} became {new:.4g}: both enclose {volume:,.0f} Å³." for old, new, volume in levels),
        CAUTION,
    ]
    session.logger.info("\n".join(lines))
    if report.doubt:
        session.logger.warning(report.doubt)
        lines.append(report.doubt)
    return result, lines


class Meter:
    """Progress callback for the core: posts, now and then, tiles done, their total and the seconds left.

    The core calls before every layer of the network, so that parts of a tile can be told, which may take half a minute.
    """

    def __init__(self, post: Callable[[float, int, float | None], None], cancelled: Callable[[], bool] | None = None):
        self._post, self._cancelled = post, cancelled
        self._began: tuple[float, float] | None = None
        self._posted = 0.0
        self._whole = 0  # tiles
        self._calls = 0  # since the last of them
        self.layers, self.turns = 1, 1  # of the network, and orientations: the core counts both done at once

    def __call__(self, whole: int, total: int) -> bool:
        """Return whether to go on, `whole` tiles of `total` being done."""
        now = time.monotonic()
        self._calls = self._calls + 1 if whole == self._whole else 0
        self._whole = whole
        done = whole + min(self._calls / (self.layers + 1), self.turns - 0.01) if whole < total else whole
        self._began = self._began or (now, done)
        if now - self._posted >= REPORT_EVERY or done == total:
            self._posted = now
            since, before = self._began
            told = done > before and (now - since > TELLING or done == total)
            left = (now - since) * (total - done) / (done - before) if told else None
            self._post(done, total, left)
        return not (self._cancelled and self._cancelled())


def status_text(title: str, done: float, total: int, seconds_left: float | None) -> str:
    """One line for the status bar."""
    text = f"{title}: {int(done)} of {total} tile{'s' if total > 1 else ''}"
    if seconds_left is None:
        return text
    minutes, seconds = divmod(round(seconds_left), 60)
    return f"{text}, {minutes}:{seconds:02d} left"


def jobs(session: Any) -> Queue:
    """Return the queue of this session, which is made when it is first asked for."""
    if not hasattr(session, "superem_jobs"):
        session.superem_jobs = Queue(session)
    return session.superem_jobs


class Queue:
    """The jobs of a session: the first one runs, the others wait for it."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.triggers = TriggerSet()
        self.triggers.add_trigger("changed")
        self._jobs: list[Job] = []

    def submit(self, request: Request) -> Job:
        """Put a job in line and return it at once."""
        job = Job(self.session, request, self)
        self._jobs.append(job)
        self._changed(job)
        self._start_next()
        return job

    def list(self) -> list[Job]:
        """Jobs that have not ended, the running one first."""
        return list(self._jobs)

    def cancel_all(self) -> int:
        """Cancel the running and the waiting jobs; return how many there were."""
        active = [job for job in reversed(self._jobs) if job.state in ("pending", "running")]
        for job in active:
            job.cancel()
        return len(active)

    def _start_next(self) -> None:
        if self._jobs and self._jobs[0].state == "pending":
            self._jobs[0].start()

    def _ended(self, job: Job) -> None:
        self._jobs.remove(job)
        self._changed(job)
        self._start_next()

    def _changed(self, job: Job) -> None:
        self.triggers.activate_trigger("changed", job)


class Job(Task):
    """One prediction in the background; a Task, so that `taskman` lists and stops it.

    Task.start() is not used: it swallows what run() raises, sets states from the worker thread and leaves
    ended tasks in the session. Here the thread only computes, and all that ChimeraX sees of it happens on
    the main thread.
    """

    def __init__(self, session: Any, request: Request, queue: Queue) -> None:
        super().__init__(session)
        self.request = request
        self.name = request.volume.name
        self.title = f"superem of {self.name}"
        self.start_time = datetime.now()  # the Task Manager asks a job that waits for it, too
        self.stage = "waiting"
        self.progress: tuple[float, int] = (0, 0)
        self.seconds_left: float | None = None
        self.result: Any = None
        self.report: Any = None
        self.error: str | None = None
        self.lines: list[str] = []
        self._queue = queue
        self._cancelled = threading.Event()
        self._values_changed = False

    def __str__(self) -> str:
        """Name the map and the number by which `taskman kill` stops the job."""
        return f"{self.title}, ID {self.id}"

    def start(self, *_args: Any, **_keywords: Any) -> None:
        """Read the map and start the thread; a map that cannot be read ends the job."""
        self.start_time = datetime.now()
        if self.request.volume.deleted:
            self._end("terminated")
            return
        try:
            part, seen = read(self.request)
        except MapError as error:
            self._fail(str(error))
            return
        self.request.volume.add_volume_change_callback(self._volume_changed)
        announce(self.session)
        self._terminate = self._cancelled
        self._set("running", "loading")
        self._thread = threading.Thread(target=self._work, args=(part, seen), daemon=True, name=self.title)
        self._thread.start()

    def run(self, *_args: Any, **_keywords: Any) -> None:
        """Not used; Task declares it abstract."""
        raise NotImplementedError

    def _work(self, part: DensityMap, seen: DensityMap) -> None:
        """Compute, on the worker thread, and hand over to the main thread whatever happens."""
        thread_safe = self._queue.session.ui.thread_safe
        meter = Meter(lambda *progress: thread_safe(self._progressed, *progress), self._cancelled.is_set)
        outcome: Any
        try:
            outcome = predict(part, seen, self.request.settings, meter)
        except BaseException as error:  # kept for the main thread, which reports it
            outcome = error
        thread_safe(self._finish, part, outcome)

    def cancel(self) -> None:
        """Stop the job; a running one ends before the network's next layer."""
        if self.state == "pending":
            self._end("terminated")
        elif self.state == "running":
            self._cancelled.set()
            self._set("terminating", self.stage)

    def terminate(self) -> None:
        """Cancel; what `taskman` and the Task Manager call."""
        self.cancel()

    def _finish(self, density: DensityMap, outcome: Any) -> None:
        volume = self.request.volume
        if not volume.deleted:
            volume.remove_volume_change_callback(self._volume_changed)
        if self._cancelled.is_set() or volume.deleted:
            self._end("terminated")
        elif isinstance(outcome, USER_ERRORS):
            self._fail(str(outcome))
        elif isinstance(outcome, BaseException):
            self._fail(f"superem stopped at an unexpected error: {outcome}", outcome)
        else:
            self._show(density, outcome)

    def _show(self, density: DensityMap, enhanced: Any) -> None:
        self._set("running", "showing")
        try:
            self.result, self.lines = show(self.session, self.request, density, enhanced)
        except Exception as error:
            self._fail(f"superem could not show its result: {error}", error)
            return
        self.report = enhanced.report
        if self._values_changed:
            self.session.logger.warning(
                f"{self.name} was changed while superem ran; the result is of its values before.")
        self._end("finished")

    def _fail(self, sentence: str, error: BaseException | None = None) -> None:
        self.error = sentence
        if error is None:
            self.session.logger.error(sentence)
        else:
            self.session.logger.report_exception(sentence, exc_info=(type(error), error, error.__traceback__))
        self._end("failed")

    def _end(self, state: str) -> None:
        self.end_time = datetime.now()
        if state == "terminated":
            why = "its map was closed" if self.request.volume.deleted else "it was cancelled"
            self.session.logger.info(f"{self.title} stopped: {why}.")
        self.session.logger.status("")
        self._set(state, "ended")
        self.session.tasks.remove(self)
        self._queue._ended(self)

    def _set(self, state: str, stage: str) -> None:
        self.stage = stage
        self.state = state  # Task's setter tells the Task Manager
        self._queue._changed(self)

    def _progressed(self, done: float, total: int, seconds_left: float | None) -> None:
        if self.state != "running":
            return
        if self.request.volume.deleted:
            self.cancel()
            return
        self.progress, self.seconds_left, self.stage = (done, total), seconds_left, "predicting"
        self.session.logger.status(status_text(self.title, done, total, seconds_left))
        self._queue._changed(self)

    def _volume_changed(self, _volume: Any, change: str) -> None:
        self._values_changed |= change == "data values changed"
