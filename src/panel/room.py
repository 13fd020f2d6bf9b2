"""The panel's share of the side of the window, where ChimeraX stacks its tools."""

from __future__ import annotations

from typing import Any

from Qt.QtCore import QEvent, QObject, Qt, QTimer
from Qt.QtWidgets import QApplication, QDockWidget, QWidget

OPENED_LINES = 27  # of text that the panel is high when it opens, however crowded the side of the window is
OPENED_PART = 0.4  # of the window's height, which is the most that it takes then
SPARED_LINES = 5  # that are left to the neighbour
SETTLED_AFTER = 500  # ms, for the window to give each its place; the Volume Viewer insists on a new height for 200


class Room(QObject):
    """Takes room for the panel, when it opens and when it is squeezed, from its highest neighbour.

    The Volume Viewer grows with each map to 350 pixels, and mostly takes them from the panel; what the panel had of its share
    comes back. A least height would keep it too, but make a full window grow. What the user takes from it with the mouse, by a
    lower window or for a tool that is new there is not asked back from that.

    Parameters
    ----------
    panel : QWidget
        What the tool's window holds.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._panel = panel
        self._lost: int | None = None  # px, the height of the tool's window before it was squeezed
        self._window_height = 0
        self._neighbours: list[QDockWidget] = []  # before that
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLED_AFTER)
        self._timer.timeout.connect(self._take)
        self._timer.start()
        panel.installEventFilter(self)

    def forget(self) -> None:
        """Leave the panel as it is from now on."""
        self._panel.removeEventFilter(self)
        self._timer.stop()

    def eventFilter(self, _panel: Any, event: Any) -> bool:
        """Qt's: see to it that the panel is made lower."""
        if event.type() == QEvent.Type.Resize and (dock := self._dock()) is not None:
            less = event.oldSize().height() - event.size().height()
            no_lower = dock.parent().height() >= self._window_height  # but higher, where the Volume Viewer needs more
            self._window_height = dock.parent().height()
            if less > 0 and no_lower and QApplication.mouseButtons() == Qt.MouseButton.NoButton:
                if not self._timer.isActive():
                    self._lost = self._panel.height() + less
                self._timer.start()
            elif not self._timer.isActive():
                self._neighbours = _beside(dock)
        return False

    def _dock(self) -> Any:
        """Return the tool's window where it is docked, else None."""
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
