"""Functions to test the panel and its jobs: ChimeraX's session with real Qt widgets, or without a window."""

import sys
import time
from typing import Any

import stand_ins
from chimerax_library import draw_frame


def give_window(session: Any, patch: Any) -> Any:
    """Make the session act as if it had a window, until `patch` (pytest's monkeypatch) is undone; return the QApplication."""
    application = stand_ins.install()
    from chimerax.superem.settings import panel_settings

    patch.setattr(session.ui, "is_gui", True)
    patch.setattr(sys, "excepthook", lambda *error: session.logger.report_exception(exc_info=error))  # as ChimeraX does
    patch.setattr(session.ui, "remove_tool", lambda tool: tool.tool_window.destroy(), raising=False)
    patch.setattr(session.ui, "set_tool_shown", lambda tool, shown: _set_shown(session, tool, shown), raising=False)
    # With a window, the Volume Viewer would open with the first map; the panel does not need it.
    patch.setattr("chimerax.map.volume_viewer.show_volume_dialog", lambda _session: None)
    panel_settings(session).reset()
    draw_frame(session)
    return application


def _set_shown(session: Any, tool: Any, shown: bool) -> None:
    if tool in session.tools.list():
        tool.tool_window.shown = shown


def open_panel(session: Any) -> Any:
    """Open the panel as the Tools menu does."""
    bundle = session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger)
    info, = bundle.tools
    return bundle.start_tool(session, info.name)


def wait(session: Any, condition: Any, timeout: float = 60) -> bool:
    """Process Qt events and calls from other threads until `condition()`, or for `timeout` seconds; return whether it is true."""
    from Qt.QtCore import QEvent
    from Qt.QtWidgets import QApplication

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        draw_frame(session)
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # tests have no event loop that would do it
        if session.ui.run_until(condition, timeout=0.02):
            QApplication.processEvents()
            return True
    return False


def divert_commands(patch: Any, run: Any) -> None:
    """Have the panel's comparison call ``run(session, command)`` instead of ChimeraX."""
    for module in ("compare", "beside"):
        patch.setattr(f"chimerax.superem.panel.{module}.run", run)


def jobs(session: Any) -> list[Any]:
    """Return the running and waiting jobs."""
    from chimerax.superem.job import jobs as queue

    return queue(session).list()


def wait_without_window(session: Any, condition: Any) -> None:
    """Run queued calls on the main thread until the condition is true."""
    assert session.ui.run_until(condition, 60)


def running(job: Any) -> bool:
    """Return whether the job has begun to predict."""
    return job.stage == "predicting" and job.progress[0] >= 1
