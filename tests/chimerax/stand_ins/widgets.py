"""Small versions of chimerax.ui.MainToolWindow and of one class of chimerax.ui.widgets."""

from chimerax.core.models import ADD_MODELS, REMOVE_MODELS
from Qt.QtCore import QTimer, Signal
from Qt.QtWidgets import QMenu, QPushButton, QWidget


class MainToolWindow:
    """A tool's window: a plain widget."""

    def __init__(self, tool_instance, **kw):
        self.tool_instance = tool_instance
        self.title = tool_instance.display_name
        self.ui_area = QWidget()

    def manage(self, placement=None, fixed_size=False, **_others):
        """Show the window."""
        self.ui_area.show()

    @property
    def shown(self):
        """Whether the window is shown."""
        return self.ui_area.isVisible()

    @shown.setter
    def shown(self, shown):
        self.ui_area.setVisible(shown)

    def destroy(self):
        """Close and delete the window."""
        self.ui_area.close()
        self.ui_area.deleteLater()


class ModelMenuButton(QPushButton):
    """A menu of the open models of one class; its value is the chosen model, or None."""

    value_changed = Signal()
    AUTOSELECT_FIRST_DISPLAYED = "first displayed"
    AUTOSELECT_NONE = None
    AUTOSELECT_SINGLE = "single"

    def __init__(self, session, *, no_value_button_text="No model chosen", class_filter=None,
                 autoselect=AUTOSELECT_SINGLE, item_text_func=str):
        super().__init__()
        self.setMenu(QMenu(self))
        self.menu().triggered.connect(lambda action: self._choose(action.data()))
        self._session, self._class, self._autoselect, self._text = session, class_filter, autoselect, item_text_func
        self._no_value_button_text = no_value_button_text
        self._value = None
        self._handlers = [session.triggers.add_handler(t, self._items_change) for t in (ADD_MODELS, REMOVE_MODELS)]
        handlers = self._handlers
        self.destroyed.connect(lambda *_: [handler.remove() for handler in handlers])
        self._items_change()

    @property
    def value(self):
        """The chosen model."""
        return self._value

    @value.setter
    def value(self, value):
        if value is not None and value not in self._models():
            raise KeyError(value)
        self._choose(value)

    def _models(self):
        return [m for m in self._session.models.list() if isinstance(m, self._class)]

    def _items_change(self, *_args):
        models = self._models()
        self.menu().clear()
        for model in models:
            self.menu().addAction(self._text(model)).setData(model)
        if self._value not in models:
            self._choose(self._automatic(models), delayed=True)

    def _automatic(self, models):
        if self._autoselect == self.AUTOSELECT_FIRST_DISPLAYED:
            return next((m for m in models if m.display), models[0] if models else None)
        return models[0] if self._autoselect == self.AUTOSELECT_SINGLE and len(models) == 1 else None

    def _choose(self, value, delayed=False):
        if value is self._value and self.text():
            return
        self._value = value
        self.setText(self._no_value_button_text if value is None else self._text(value))
        if delayed:  # like the real one, so that other widgets can follow the models first
            QTimer.singleShot(0, self.value_changed.emit)
        else:
            self.value_changed.emit()
