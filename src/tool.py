"""The panel (Tools ▸ Volume Data ▸ SuperEM): it composes `superem` commands, runs them and follows their jobs."""

from __future__ import annotations

import time
from typing import Any

from chimerax.core.commands import run
from chimerax.core.errors import UserError
from chimerax.core.tools import ToolInstance, get_singleton

from .bundle import TOOL_NAME
from .job import jobs
from .names import is_result, newest_pair
from .panel.choices import from_state
from .prediction import Made
from .provenance import CAUTION
from .settings import panel_settings
from .watch import MapWatch

ESTIMATE_AFTER = 400  # ms after the last change of choices
SETTLED_AFTER = 250  # ms, for the layout to settle after new rows in the panel, or a Volume Viewer that opens above it
# s during which results are scrolled back into view, because the Volume Viewer grows with a new map; later the user may
# look elsewhere.
KEPT_IN_SIGHT = 2.0
WAITING = "The estimate waits for the running job to end."
LEAST_LINES = 6  # lines of text for which the choices have room; with more, the window would soon outgrow a low screen


class SuperEMTool(ToolInstance):
    """The one SuperEM panel of a session."""

    SESSION_ENDURING = False
    SESSION_SAVE = True
    help = "help:user/tools/superem.html"

    def __init__(self, session: Any, tool_name: str = TOOL_NAME) -> None:
        super().__init__(session, tool_name)
        from chimerax.ui import MainToolWindow

        from .panel.estimates import AnswerThread, find_devices

        self._asked: Any = None  # question of the estimate in progress
        self._answered: Any = None  # question of the estimate shown
        self._wanted_until = 0.0
        self._settings = panel_settings(session)
        self._watch = MapWatch(self._map_changed)  # of the map to work on
        self._devices = AnswerThread(session, find_devices, self._devices_found)
        self._estimates = AnswerThread(session, self._estimate, self._estimated)
        self.tool_window = MainToolWindow(self)
        self._build(self.tool_window.ui_area)
        self.tool_window.manage("side")
        self._devices.ask("devices")
        self._choices_changed()
        if (pair := newest_pair(session)) is not None:
            self.compare.compare(*pair)
            chosen = self.form.map_menu.value  # the first displayed map, but the input may be hidden
            if chosen is None or is_result(chosen):
                self.form.map_menu.value = pair[0]

    @classmethod
    def get_singleton(cls, session: Any) -> SuperEMTool | None:
        """Return the panel, opening it if needed; None if ChimeraX has no window."""
        return get_singleton(session, cls, TOOL_NAME)

    # Widgets

    def _build(self, parent: Any) -> None:
        from Qt.QtCore import Qt, QTimer
        from Qt.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QWidget

        from .panel.comparebox import CompareBox
        from .panel.form import ChoicesForm, Note, column
        from .panel.joblist import JobList
        from .panel.room import Room

        settings = self._settings
        choices = from_state({name: getattr(settings, name) for name in settings.AUTO_SAVE})
        self.form = ChoicesForm(self.session, choices, settings.advanced)
        self.estimate = Note()
        self.run_button = QPushButton("&Run")
        self.run_button.setToolTip("Make the super-resolved map in the background; you can use ChimeraX meanwhile")
        self.run_button.clicked.connect(lambda *_: self.run())
        self.help_button = QPushButton("He&lp")
        self.help_button.clicked.connect(lambda *_: self.display_help())
        self.jobs = JobList(self.session, self._job_ended)
        self._made_handler = jobs(self.session).triggers.add_handler("made", self._made)
        self.report = Note()
        self.report.hide()
        self.compare = CompareBox(self.session)
        self.caution = Note(f"Super-resolved (SR) density is {CAUTION[0].lower()}{CAUTION[1:]}")

        # The estimate, the buttons and the caution stay visible however low the panel is; the rest scrolls.
        inside = QWidget()
        rows = column(inside, 6)
        for widget in (self.form, self.jobs, self.report, self.compare):
            rows.addWidget(widget)
        rows.addStretch(1)
        below = QWidget()
        foot = column(below, 6)
        running = QHBoxLayout()
        for button in (self.run_button, self.help_button):
            running.addWidget(button, 0, Qt.AlignmentFlag.AlignBottom)  # the estimate's text arrives later and grows upwards
        running.addWidget(self.estimate, 1, Qt.AlignmentFlag.AlignVCenter)
        foot.addLayout(running)
        foot.addWidget(self.caution)
        self._scroll = scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(inside)
        scroll.setMinimumHeight(LEAST_LINES * scroll.fontMetrics().height())
        scroll.setMinimumWidth(inside.minimumSizeHint().width() + scroll.verticalScrollBar().sizeHint().width())
        outer = column(parent)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setFrameShadow(QFrame.Shadow.Sunken)
        for widget, stretch in ((scroll, 1), (line, 0), (below, 0)):
            outer.addWidget(widget, stretch)

        self._timer = QTimer(parent)
        self._scroll_timer = QTimer(parent)
        for timer, wait, action in (
                (self._timer, ESTIMATE_AFTER, self._ask), (self._scroll_timer, SETTLED_AFTER, self._scroll_now)):
            timer.setSingleShot(True)
            timer.setInterval(wait)
            timer.timeout.connect(action)
        self._room = Room(parent)
        scroll.verticalScrollBar().rangeChanged.connect(lambda *_: self._layout_changed())
        self.form.changed.connect(self._choices_changed)

    # Running

    def run(self) -> None:
        """Run the command for the current choices."""
        volume = self.form.map_menu.value
        if volume is None:
            return
        self.remember()
        self._say("")
        try:
            run(self.session, self.form.choices.command(volume.atomspec))
        except UserError as error:
            self._say(str(error))
            raise  # ChimeraX shows and logs it
        self._scroll_to(self.jobs)

    def remember(self) -> None:
        """Save the choices for the next start of ChimeraX."""
        for name, value in {**self.form.choices.state(), "advanced": self.form.advanced.isChecked()}.items():
            setattr(self._settings, name, value)

    def _made(self, _name: str, made: Made) -> None:
        self._say("\n".join(line for line in made.lines if line != CAUTION))
        self.compare.take(made.source, made.result)
        self._scroll_to(self.report, self.compare, self.compare.flip)

    def _job_ended(self, job: Any) -> None:
        if job.state == "failed":
            self._say(job.error if job.name in job.error else f"{job.name}: {job.error}")
        elif job.state == "terminated":
            self._say(f"{job.lines[0]} Nothing was changed.")
        self._choices_changed()

    def _say(self, text: str) -> None:
        self.report.setText(text)
        self.report.setVisible(bool(text))

    def _scroll_to(self, *widgets: Any) -> None:
        """Scroll until `widgets` are visible, the last one in any case, once the layout has settled."""
        self._wanted = widgets
        self._wanted_until = time.monotonic() + KEPT_IN_SIGHT
        self._scroll_timer.start()

    def _layout_changed(self) -> None:
        if time.monotonic() < self._wanted_until:
            self._scroll_timer.start()

    def _scroll_now(self) -> None:
        for widget in self._wanted:
            self._scroll.ensureWidgetVisible(widget, 0, 0)

    # Estimates

    def _devices_found(self, _asked: Any, devices: Any) -> None:
        if isinstance(devices, str):  # PyTorch is missing or broken; the sentence says how to fix it
            self._show_estimate(devices)
        else:
            self.form.set_devices(devices)

    def _choices_changed(self) -> None:
        from .panel.estimates import question

        volume = self.form.map_menu.value
        self._watch.set(volume)
        self.run_button.setEnabled(volume is not None)
        self._asked = None
        if volume is None:
            self._show_estimate("Open a map to work on.")
        elif question(volume, self.form.choices) != self._answered:
            self._show_estimate("Estimating time and memory …")
            self._timer.start()

    def _map_changed(self, _volume: Any, change: str) -> None:
        """Estimate again when the shown part or the voxel size of the chosen map has changed."""
        if change in ("region changed", "coordinates changed"):
            self._choices_changed()

    def _ask(self) -> None:
        from .panel.estimates import question

        volume = self.form.map_menu.value
        if volume is None:
            return
        if jobs(self.session).list():
            self._show_estimate(WAITING)
        else:
            self._asked = question(volume, self.form.choices)
            self._estimates.ask(self._asked)

    def _estimate(self, asked: Any, stopped: Any) -> Any:
        """Estimate a run, on a worker thread; what was timed beside a job is too long, and must not be kept."""
        from .panel.estimates import estimate_run

        answer = estimate_run(asked, stopped)
        return WAITING if jobs(self.session).list() else answer

    def _estimated(self, asked: Any, answer: Any) -> None:
        from .panel.estimates import estimate_text

        if asked != self._asked:
            return
        if isinstance(answer, str):  # an error, which may be fixed: do not keep it as the answer to this question
            self._show_estimate(answer)
        else:
            self._show_estimate(estimate_text(answer), asked)

    def _show_estimate(self, text: str, answered: Any = None) -> None:
        self.estimate.setText(text)
        self._answered = answered

    # Sessions

    def take_snapshot(self, session: Any, flags: int) -> dict[str, Any]:
        """Return the panel's state for a session file."""
        pair = self.compare.pair
        return {
            **super().take_snapshot(session, flags),
            "choices": self.form.choices.state(),
            "map": self.form.map_menu.value,
            "compared": (pair.before, pair.after) if pair else None,
            "tiled": self.compare.tiled,
        }

    def set_state_from_snapshot(self, session: Any, data: dict[str, Any]) -> None:
        """Restore the panel's state from a session file of this or an older version."""
        super().set_state_from_snapshot(session, data)
        self.form.set_choices(from_state(data.get("choices") or {}))
        if data.get("map") is not None:
            self.form.map_menu.value = data["map"]
        if "compared" in data:  # otherwise keep comparing the newest result
            self.compare.compare(*(data["compared"] or (None, None)))
            if data.get("tiled"):
                self.compare.find_tiled()

    def delete(self) -> None:
        """Close the panel; its jobs continue."""
        self.remember()
        self.compare.forget()
        self._watch.forget()
        for timer in (self._timer, self._scroll_timer):
            timer.stop()
        self._room.forget()
        self._devices.forget()
        self._estimates.forget()
        self.jobs.forget()
        self._made_handler.remove()
        super().delete()
