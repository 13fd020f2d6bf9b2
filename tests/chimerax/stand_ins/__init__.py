"""Stand-ins for what the PyPI package ChimeraX lacks and the panel needs: `Qt` and two classes of `chimerax.ui`.

`Qt` is ChimeraX's thin shim over PyQt6; here its modules are PyQt6's own. The classes are in `widgets.py`, as small as the
panel allows. `interface.py` records their interface in ChimeraX's source, and compares it with a source tree.
"""

import importlib
import os
import sys
import types
from typing import Any

application: Any = None  # Qt's only application, which must outlive every widget


def install() -> Any:
    """Install the stand-ins; return the QApplication."""
    if "Qt" not in sys.modules:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        _package("Qt")
        for name in ("QtCore", "QtGui", "QtWidgets"):
            module = importlib.import_module(f"PyQt6.{name}")
            sys.modules[f"Qt.{name}"] = module
            setattr(sys.modules["Qt"], name, module)
        core = sys.modules["Qt.QtCore"]
        core.Signal = core.pyqtSignal  # type: ignore[attr-defined]
    if "chimerax.ui" not in sys.modules:
        from . import widgets

        ui = _package("chimerax.ui")
        sys.modules["chimerax.ui.widgets"] = ui.widgets = widgets  # type: ignore[attr-defined, assignment]
        ui.MainToolWindow = widgets.MainToolWindow  # type: ignore[attr-defined]
    from PyQt6.QtWidgets import QApplication

    global application
    application = application or QApplication(["superem-tests"])
    return application


def _package(name: str) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
    return package
