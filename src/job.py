"""Prediction jobs: one runs at a time on a worker thread, the others wait, and the window stays responsive.

The worker thread runs `prediction.predict` and nothing else. The main thread reads the map before the worker starts and
makes the new Volume after it has ended.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from chimerax.core.errors import UserError
from chimerax.core.tasks import Task
from chimerax.core.triggerset import TriggerSet

from . import prediction
from .core.density import DensityMap
from .meter import Meter, status_text
from .names import label
from .prediction import USER_ERRORS, Made, Request, words_of
from .watch import MapWatch

#: Seconds to wait for a worker thread when ChimeraX quits: killing a thread inside PyTorch would crash ChimeraX.
QUIT_WAIT = 10.0


def jobs(session: Any) -> Queue:
    """Return the job queue of this session, creating it on first use."""
    if not hasattr(session, "superem_jobs"):
        session.superem_jobs = Queue(session)
    return session.superem_jobs


class Queue:
    """The jobs of a session: the first one runs, the others wait."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.triggers = TriggerSet()
        self.triggers.add_trigger("changed")
        self.triggers.add_trigger("made")
        self._jobs: list[Job] = []
        self._starting = False
        for trigger, handler in (("app quit", self._quit), ("begin save session", self._saved)):
            session.triggers.add_handler(trigger, handler)

    def submit(self, request: Request) -> Job:
        """Queue a job and return it at once."""
        job = Job(self.session, request, self)
        self._jobs.append(job)
        self._changed(job)
        self._start_next()
        return job

    def list(self) -> list[Job]:
        """Return the jobs that have not ended, the running one first."""
        return list(self._jobs)

    def run_now(self, request: Request) -> Any:
        """Make a map before returning, without waiting for queued jobs, and fire the trigger "made" as they do.

        Raises
        ------
        UserError
            As `prediction.run_now`.
        """
        made = prediction.run_now(self.session, request)
        self._made(made)
        return made.result

    def cancel_all(self) -> int:
        """Cancel the running job and all waiting ones; return how many there were."""
        active = [job for job in reversed(self._jobs) if job.state in ("pending", "running")]
        for job in active:
            job.cancel()
        return len(active)

    def _quit(self, *_trigger: Any) -> None:
        running = [job for job in self._jobs if job.state in ("running", "terminating")]
        self.cancel_all()
        for job in running:
            job.join(QUIT_WAIT)

    def _saved(self, *_trigger: Any) -> None:
        if self._jobs:
            names = ", ".join(job.name for job in self._jobs)
            self.session.logger.warning(f"The session file will not hold the maps that superem has yet to make from {names}. "
                                        "Save it again when they are made.")

    def _start_next(self) -> None:
        if self._starting:  # a job that ends while it starts comes back here; hundreds of those would nest too deeply
            return
        self._starting = True
        try:
            while self._jobs and self._jobs[0].state == "pending":
                self._jobs[0].start()
        finally:
            self._starting = False

    def _ended(self, job: Job) -> None:
        self._jobs.remove(job)
        self._changed(job)
        self._start_next()

    def _made(self, made: Made) -> None:
        self.triggers.activate_trigger("made", made)

    def _changed(self, job: Job) -> None:
        self.triggers.activate_trigger("changed", job)


class Job(Task):
    """One prediction in the background; a ChimeraX Task, so that `taskman` lists and stops it.

    Task.start() is not used: it swallows exceptions of run(), sets states from the worker thread and leaves ended tasks
    in the session. Here the worker thread only computes; everything that ChimeraX sees happens on the main thread.
    """

    def __init__(self, session: Any, request: Request, queue: Queue) -> None:
        super().__init__(session)
        self.request = request
        self._name = label(request.volume)
        self.start_time = datetime.now()  # the Task Manager reads it from waiting jobs, too
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
        self._watch = MapWatch(self._volume_changed)

    def __str__(self) -> str:
        """Return the map's name and the ID by which `taskman kill` stops the job."""
        return f"{self.title}, ID {self.id}"

    @property
    def name(self) -> str:
        """The map's name and number; for a closed map, the last ones known."""
        if not self.request.volume.deleted:
            self._name = label(self.request.volume)
        return self._name

    @property
    def title(self) -> str:
        """Short description of the job."""
        return f"superem of {self.name}"

    def start(self, *_args: Any, **_keywords: Any) -> None:
        """Read the map and start the worker thread; a map that cannot be read ends the job."""
        self.start_time = datetime.now()
        if self.request.volume.deleted:
            self._end("terminated")
            return
        try:
            part, seen = prediction.read(self.request)
        except Exception as error:  # from the map, or from its file, which ChimeraX may read only now
            sentence = str(error).strip() or f"{self.name} cannot be read ({type(error).__name__})."
            self._fail(sentence, None if isinstance(error, (*USER_ERRORS, UserError)) else error)
            return
        self._watch.set(self.request.volume)
        prediction.announce(self.session)
        self._terminate = self._cancelled
        self._set("running", "loading")
        self._thread = threading.Thread(target=self._work, args=(part, seen), daemon=True, name=self.title)
        self._thread.start()

    def run(self, *_args: Any, **_keywords: Any) -> None:
        """Raise NotImplementedError; Task declares this method abstract."""
        raise NotImplementedError

    def _work(self, part: DensityMap, seen: DensityMap) -> None:
        """Compute on the worker thread; hand the result or the exception to the main thread."""
        thread_safe = self._queue.session.ui.thread_safe
        meter = Meter(lambda *progress: thread_safe(self._progressed, *progress), self._cancelled.is_set)
        outcome: Any
        try:
            outcome = prediction.predict(part, seen, self.request.settings, meter)
        except BaseException as error:  # the main thread reports it
            outcome = error
        thread_safe(self._finish, part, outcome)

    def cancel(self) -> None:
        """Cancel the job; a running one stops before the network's next layer."""
        if self.state == "pending":
            self._end("terminated")
        elif self.state == "running":
            self._cancelled.set()
            self._set("terminating", self.stage)

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the worker thread of a started job to end."""
        self._thread.join(seconds)

    def terminate(self) -> None:
        """Cancel the job; called by `taskman` and the Task Manager."""
        self.cancel()

    def _finish(self, density: DensityMap, outcome: Any) -> None:
        volume = self.request.volume
        self._watch.set()
        if self._cancelled.is_set() or volume.deleted:
            self._end("terminated")
        elif isinstance(outcome, USER_ERRORS):
            self._fail(str(outcome))
        elif isinstance(outcome, BaseException):
            self._fail(f"superem stopped because of an unexpected error: {words_of(outcome)}", outcome)
        else:
            self._show(density, outcome)

    def _show(self, density: DensityMap, enhanced: Any) -> None:
        self._set("running", "showing")
        try:
            made = prediction.show(self.session, self.request, density, enhanced)
        except Exception as error:
            self._fail(f"superem could not show its result: {words_of(error)}", error)
            return
        self.result, self.lines, self.report = made.result, made.lines, enhanced.report
        if self._values_changed:
            self.session.logger.warning(
                f"{self.name} was changed while superem ran; the result is that of its earlier values.")
        self._queue._made(made)
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
            self.lines = [f"{self.title} stopped: {why}."]
            self.session.logger.info(self.lines[0])
        self.session.logger.status("")
        self._set(state, "ended")
        self.session.tasks.remove(self)
        self._queue._ended(self)

    def _set(self, state: str, stage: str) -> None:
        self.stage = stage
        self.state = state  # Task's setter notifies the Task Manager
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
