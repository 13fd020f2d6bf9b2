"""The panel in a test: ChimeraX's session with real Qt widgets in it."""

import time
from typing import Any

import stand_ins


def give_window(session: Any, patch: Any) -> Any:
    """Make the session believe in a window, until `patch` (pytest's monkeypatch) is undone; return the QApplication."""
    application = stand_ins.install()
    from chimerax.superem.settings import panel_settings

    patch.setattr(session.ui, "is_gui", True)
    patch.setattr(session.ui, "remove_tool", lambda tool: tool.tool_window.destroy(), raising=False)
    patch.setattr(session.ui, "set_tool_shown", lambda tool, shown: setattr(tool.tool_window, "shown", shown), raising=False)
    panel_settings(session).reset()
    return application


def open_panel(session: Any) -> Any:
    """Open the panel as the Tools menu does."""
    bundle = session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger)
    info, = bundle.tools
    return bundle.start_tool(session, info.name)


def wait(session: Any, condition: Any, timeout: float = 60) -> bool:
    """Serve Qt and the calls from other threads until `condition()` or `timeout` seconds."""
    from Qt.QtWidgets import QApplication

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        QApplication.processEvents()
        if session.ui.run_until(condition, timeout=0.02):
            QApplication.processEvents()
            return True
    return False


def jobs(session: Any) -> list[Any]:
    """Return the jobs that run or wait."""
    from chimerax.superem.job import jobs as queue

    return queue(session).list()
