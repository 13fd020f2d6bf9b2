"""The running and waiting jobs, each with its progress, the time left and a button that cancels it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chimerax.core.models import MODEL_ID_CHANGED, MODEL_NAME_CHANGED
from Qt.QtWidgets import QGridLayout, QProgressBar, QPushButton, QWidget

from ..job import jobs
from ..meter import status_text
from .form import Note, column

STAGES = {
    "waiting": "waiting for the jobs before it",
    "loading": "loading PyTorch and the model …",
    "showing": "contouring the result …",
}


class JobList(QWidget):
    """One row for each job of the session, whether the panel or a command started it.

    Parameters
    ----------
    session : chimerax.core.session.Session
    ended : callable
        ``ended(job)``, called when a job leaves the list.
    """

    def __init__(self, session: Any, ended: Callable[[Any], None]) -> None:
        super().__init__()
        self._queue = jobs(session)
        self._ended = ended
        self._rows: dict[Any, JobRow] = {}
        self._layout = column(self)
        self._handlers = [self._queue.triggers.add_handler("changed", self._changed)]
        self._handlers += [session.triggers.add_handler(t, self._renamed) for t in (MODEL_NAME_CHANGED, MODEL_ID_CHANGED)]
        for job in self._queue.list():
            self._changed("changed", job)

    def forget(self) -> None:
        """Stop following the jobs, which continue."""
        for handler in self._handlers:
            handler.remove()

    def _renamed(self, _name: str, model: Any) -> None:
        for job, row in self._rows.items():
            if job.request.volume is model:
                row.update_row()

    def _changed(self, _name: str, job: Any) -> None:
        if job in self._queue.list():
            if job not in self._rows:
                self._rows[job] = JobRow(job)
                self._layout.addWidget(self._rows[job])
            self._rows[job].update_row()
        elif job in self._rows:
            row = self._rows.pop(job)
            self._layout.removeWidget(row)
            row.hide()  # at once: a new map is drawn before the widget is deleted
            row.deleteLater()
            self._ended(job)


class JobRow(QWidget):
    """One job: what it does, its progress, and the button that cancels it."""

    def __init__(self, job: Any) -> None:
        super().__init__()
        self.job = job
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.label = Note()
        self.bar = QProgressBar()
        self.cancel = QPushButton("&Cancel")
        self.cancel.clicked.connect(lambda *_: job.cancel())
        layout.addWidget(self.label, 0, 0, 1, 2)
        layout.addWidget(self.bar, 1, 0)
        layout.addWidget(self.cancel, 1, 1)

    def update_row(self) -> None:
        """Show the job's current state."""
        job, (done, total) = self.job, self.job.progress
        if job.state == "terminating":
            text = f"{job.name}: stopping …"
        elif job.stage == "predicting":
            text = status_text(job.name, done, total, job.seconds_left)
        else:
            text = f"{job.name}: {STAGES.get(job.stage, job.stage)}"
        self.label.setText(text)
        self.cancel.setToolTip(f"Stop {job.title}")
        # A range of zero makes a busy indicator: work goes on, for an unknown time.
        self.bar.setRange(0, 100 * total if total or job.stage != "waiting" else 1)
        self.bar.setValue(int(100 * done))
        self.cancel.setEnabled(job.state in ("pending", "running"))
