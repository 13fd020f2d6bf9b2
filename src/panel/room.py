"""The panel's share of the height of ChimeraX's side area, where tools are stacked."""

from __future__ import annotations

from typing import Any

from Qt.QtCore import QEvent, QObject, Qt, QTimer
from Qt.QtWidgets import QApplication, QDockWidget, QWidget

OPENED_LINES = 27  # lines of text; the panel's height when it opens, however crowded the side of the window is
OPENED_PART = 0.4  # fraction of the window's height that the panel takes at most when it opens
SPARED_LINES = 5  # lines of text that are left to the neighbour
SETTLED_AFTER = 500  # ms, for the window's layout to settle; the Volume Viewer insists on a new height for 200 ms


class Room(QObject):
    """Takes height from the tallest neighbour when the panel opens, and again when the panel is squeezed.

    The Volume Viewer grows with each map, up to 350 pixels, mostly at the panel's expense; what the panel loses of its
    share is taken back. A minimum height would keep the share too, but would make a full window grow. Height that the
    user takes from the panel by dragging with the mouse or by shrinking the window is not taken back, nor is any taken
    from a newly opened tool.

    Parameters
    ----------
    panel : QWidget
        The content of the tool's window.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._panel = panel
        self._lost: int | None = None  # px, the panel's height before it was squeezed
        self._window_height = 0
        self._neighbours: list[QDockWidget] = []  # neighbours before the panel was squeezed
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLED_AFTER)
        self._timer.timeout.connect(self._take)
        self._timer.start()
        panel.installEventFilter(self)

    def forget(self) -> None:
        """Leave the panel's height alone from now on."""
        self._panel.removeEventFilter(self)
        self._timer.stop()

    def eventFilter(self, _panel: Any, event: Any) -> bool:
        """Notice when the panel becomes lower (Qt)."""
        if event.type() == QEvent.Type.Resize and (dock := self._dock()) is not None:
            less = event.oldSize().height() - event.size().height()
            no_lower = dock.parent().height() >= self._window_height  # the window may grow, if the Volume Viewer needs more room
            self._window_height = dock.parent().height()
            if less > 0 and no_lower and QApplication.mouseButtons() == Qt.MouseButton.NoButton:
                if not self._timer.isActive():
                    self._lost = self._panel.height() + less
                self._timer.start()
            elif not self._timer.isActive():
                self._neighbours = _beside(dock)
        return False

    def _dock(self) -> Any:
        """Return the tool's window if it is docked, else None."""
        dock = self._panel.parent()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        return None if dock is None or dock.isFloating() else dock

    def _take(self) -> None:
        lost, self._lost = self._lost, None
        if (dock := self._dock()) is None:
            return
        window, neighbours = dock.parent(), _beside(dock)
        line = dock.fontMetrics().height()
        share = min(OPENED_LINES * line, int(OPENED_PART * window.height()))
        more, givers = share - dock.height(), neighbours
        if lost is not None:
            more, givers = min(more, lost - self._panel.height()), [other for other in neighbours if other in self._neighbours]
        self._neighbours = neighbours
        if more > 0 and givers:
            highest = max(givers, key=lambda other: other.height())
            more = min(more, max(0, highest.height() - SPARED_LINES * line))
            window.resizeDocks([highest, dock], [highest.height() - more, dock.height() + more], Qt.Orientation.Vertical)


def _beside(dock: Any) -> list[QDockWidget]:
    """Return the tools above and below a docked one."""
    window = dock.parent()
    return [other for other in window.findChildren(QDockWidget) if other is not dock and other.isVisible()
            and not other.isFloating() and window.dockWidgetArea(other) == window.dockWidgetArea(dock)]
