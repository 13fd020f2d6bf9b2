"""The choices as widgets: map, device, model, tiling, region, and the advanced part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chimerax.map import Volume
from chimerax.ui.widgets import ModelMenuButton
from Qt.QtCore import QSize, Qt, QTimer, Signal
from Qt.QtGui import QResizeEvent
from Qt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..core.predict import RESOLUTIONS
from ..names import short_label
from ..nets.store import SUFFIX, WeightsError, bundled
from ..prediction import LARGEST_BATCH
from .choices import DEFAULT, GRIDS, REGIONS, ROTATIONS, TILINGS, Choices

WEIGHTS_FILE = "Weights file …"
#: Minimum width in characters; a label that may wrap anywhere asks for a tall, narrow place.
NOTE_WIDTH = 40


class ChoicesForm(QWidget):
    """The form with all choices for a run.

    Parameters
    ----------
    session : chimerax.core.session.Session
    choices : Choices
        Initial choices.
    advanced : bool
        Whether the advanced part is open initially.
    """

    changed = Signal()

    def __init__(self, session: Any, choices: Choices, advanced: bool = False) -> None:
        super().__init__()
        self._summaries: dict[str, str] = {}
        self._chosen_model = ""  # the menu's value, except its entry that asks for a file
        self._form = form = _form_layout(self)
        self.map_menu = ModelMenuButton(
            session, class_filter=Volume, autoselect=ModelMenuButton.AUTOSELECT_FIRST_DISPLAYED,
            no_value_button_text="No map open", item_text_func=short_label)
        self.map_menu.value_changed.connect(self.changed)
        self._device = self._combo({"auto": "Automatic: the best device"}, "Where the network runs")
        self._model = self._combo({}, "The network and its weights")
        self._model.activated.connect(self._model_chosen)
        self._summary = Note()
        self._tiling = self._combo(TILINGS, "How the map is cut into overlapping tiles")
        self._subregion = self._combo(REGIONS, "The part of the map to work on")
        self._grid = self._combo(GRIDS, "The grid of the super-resolved map")
        for text, field in (("&Map", self.map_menu), ("&Device", self._device), ("M&odel", self._model)):
            form.addRow(text, field)
        form.addRow("", self._summary)
        form.addRow("Til&ing", self._tiling)
        region = QHBoxLayout()
        grid_label = QLabel("Output &grid")
        grid_label.setBuddy(self._grid)
        for widget, stretch in ((self._subregion, 1), (grid_label, 0), (self._grid, 1)):
            region.addWidget(widget, stretch)
        region_label = QLabel("Regio&n")
        region_label.setBuddy(self._subregion)
        form.addRow(region_label, region)
        self._reliability = QCheckBox("Color b&y reliability")
        self._reliability.setToolTip("Color the super-resolved map by the Q-score to expect of a correct model at each place")
        self._reliability.toggled.connect(self.changed)
        form.addRow("", self._reliability)

        # Not ChimeraX's CollapsiblePanel, whose style sheet fixes the title's colour and size, whatever the theme and
        # the screen.
        self.advanced = QToolButton()
        self.advanced.setText("Advanced")
        self.advanced.setCheckable(True)
        self.advanced.setAutoRaise(True)
        self.advanced.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.advanced.toggled.connect(self._show_advanced)
        self._inner = inner = QWidget()
        advanced_form = _form_layout(inner)
        self._rotations = self._combo(
            ROTATIONS, "Average the predictions for this many orientations of the map: steadier, and as many times slower")
        self._batch = QSpinBox()
        self._batch.setRange(0, LARGEST_BATCH)
        self._batch.setSpecialValueText("Automatic")
        self._batch.setToolTip("How many tiles to predict at once; halved if memory runs out")
        self._batch.valueChanged.connect(self.changed)
        self._resolution = QDoubleSpinBox()
        self._resolution.setRange(RESOLUTIONS[0] - 0.1, RESOLUTIONS[1])  # the minimum shows the special value text
        self._resolution.setSingleStep(0.1)
        self._resolution.setSuffix(" Å")
        self._resolution.setSpecialValueText("Found from the map")
        self._resolution.setToolTip("The map's resolution, which decides how sharp the super-resolved map is")
        self._resolution.valueChanged.connect(self.changed)
        advanced_form.addRow("Resolution", self._resolution)
        advanced_form.addRow("Orientations", self._rotations)
        advanced_form.addRow("Batch size", self._batch)
        form.addRow(self.advanced)
        form.addRow(inner)
        self.advanced.setChecked(advanced)
        self._show_advanced(advanced)
        self._list_models()
        self.set_choices(choices)

    @property
    def choices(self) -> Choices:
        """The current choices."""
        resolution, model = self._resolution.value(), self._model.currentData()
        return Choices(
            device=self._device.currentData(), tiling=self._tiling.currentData(),
            model=self._chosen_model if model == WEIGHTS_FILE else model,
            subregion=self._subregion.currentData(), grid=self._grid.currentData(),
            rotations=self._rotations.currentData(), batch_size=self._batch.value(),
            resolution=DEFAULT.resolution if resolution == self._resolution.minimum() else max(resolution, RESOLUTIONS[0]),
            reliability=self._reliability.isChecked())

    def set_choices(self, choices: Choices) -> None:
        """Set the form to `choices`; a device that is not known (yet) and a weights file are added to their menus."""
        for combo, value in (
            (self._device, choices.device), (self._model, choices.model), (self._tiling, choices.tiling),
            (self._subregion, choices.subregion), (self._grid, choices.grid), (self._rotations, choices.rotations),
        ):
            self._set(combo, value)
        self._batch.setValue(choices.batch_size)
        self._reliability.setChecked(choices.reliability)
        self._resolution.setValue(choices.resolution)  # the default, 0, lies below the range and selects the minimum

    def set_devices(self, devices: list[Any]) -> None:
        """List the available devices (core `Device`s, best first); a device that is gone is no longer offered."""
        wanted = self._device.currentData()
        self._device.blockSignals(True)
        self._device.clear()
        self._device.addItem(f"Automatic: {devices[0].label}", "auto")
        for device in devices:
            self._device.addItem(f"{device.label} ({device.name})", device.name)
        self._device.setCurrentIndex(max(0, self._device.findData(wanted)))
        self._device.blockSignals(False)
        if self._device.currentData() != wanted:
            self.changed.emit()

    def _show_advanced(self, shown: bool) -> None:
        self.advanced.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self._inner.setVisible(shown)

    def _list_models(self) -> None:
        try:
            cards = bundled()
        except WeightsError as error:
            self._summaries[""] = str(error)
            cards = []
        for card in cards:
            name, text = ("", f"{card.name} (default)") if card is cards[0] else (card.name, card.name)
            self._model.addItem(text, name)
            self._summaries[name] = card.summary
        if not cards:
            self._model.addItem("None in this bundle", "")
        self._model.addItem(WEIGHTS_FILE, WEIGHTS_FILE)
        self._model.currentIndexChanged.connect(self._show_summary)
        self._show_summary()

    def _show_summary(self) -> None:
        name = self._model.currentData()
        if name != WEIGHTS_FILE:
            self._chosen_model = name
            self._summary.setText(self._summaries.get(name, "A weights file of your own."))

    def _model_chosen(self) -> None:
        if self._model.currentData() != WEIGHTS_FILE:
            return
        path, _kind = QFileDialog.getOpenFileName(self, "Weights file", "", f"Weights (*{SUFFIX})")
        self._set(self._model, path or self._chosen_model)

    @staticmethod
    def _set(combo: QComboBox, value: str) -> None:
        """Select a value, adding it to the menu if it is not there; a path is shown by its file name."""
        if combo.findData(value) < 0:
            combo.insertItem(1, Path(value).name, value)
            combo.setItemData(1, value, Qt.ItemDataRole.ToolTipRole)
        combo.setCurrentIndex(combo.findData(value))

    def _combo(self, options: Mapping[str, str], tip: str) -> QComboBox:
        combo = QComboBox()
        combo.setToolTip(tip)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(12)
        for value, text in options.items():
            combo.addItem(text, value)
        combo.currentIndexChanged.connect(self.changed)
        return combo


class Note(QLabel):
    """A label for sentences: they wrap, and can be selected and copied.

    It asks for the height that its text needs at its current width. A QLabel asks for the height at its minimum width,
    which leaves gaps around it, and accepts a single line, which cuts off text in a low panel.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setMinimumWidth(NOTE_WIDTH * self.fontMetrics().averageCharWidth())
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Layouts ignore updateGeometry while they are at work, which is when they set the label's width.
        self._afterwards = QTimer(self)
        self._afterwards.setSingleShot(True)
        self._afterwards.timeout.connect(self.updateGeometry)

    def hasHeightForWidth(self) -> bool:
        """Return False (Qt): forms inside columns confuse the heights for a label's previous and next width."""
        return False

    def sizeHint(self) -> QSize:
        """Return the preferred size (Qt)."""
        return QSize(super().sizeHint().width(), self.heightForWidth(self.width()))

    def minimumSizeHint(self) -> QSize:
        """Return the minimum size (Qt)."""
        return QSize(super().minimumSizeHint().width(), self.heightForWidth(self.width()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Update the height if the width has changed (Qt)."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._afterwards.start()


def column(widget: QWidget, margin: int = 0) -> QVBoxLayout:
    """Give a widget a vertical layout, and return that."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(margin, margin, margin, margin)
    return layout


def _form_layout(widget: QWidget) -> QFormLayout:
    form = QFormLayout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form
