"""The part of the panel that compares the input map with the super-resolved map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chimerax.core.commands import run
from chimerax.map import Volume
from chimerax.ui.widgets import ModelMenuButton
from Qt.QtCore import Qt, QTimer
from Qt.QtWidgets import QFileDialog, QGridLayout, QGroupBox, QHBoxLayout, QLabel, QPushButton, QSlider

from ..core.density import MapError
from ..core.levels import enclosing
from ..names import is_result, short_label
from ..watch import MapWatch
from .beside import SideBySide
from .compare import Pair, save_command, save_name, volume_at

STEPS = 100  # range of a slider
LEVEL_HINT = "Level moves both contours at equal enclosed volume."
SETTLE = 400  # ms after which a slider moved by keys counts as released


class CompareBox(QGroupBox):
    """Two map menus, and the buttons and sliders that compare the two maps in one place."""

    def __init__(self, session: Any) -> None:
        super().__init__("Compare")
        self.session = session
        self._middle = 0.0  # Å³ enclosed at the middle of the level slider
        self._levels: tuple[float, float] | None = None  # of both maps, as last set by this box
        self._enclosed = (0.0, 0.0)  # Å³, at these levels
        self._place = STEPS // 2  # of the level slider, as last set by this box
        self._apart: SideBySide | None = None  # maps that this box has moved apart
        self._chosen: tuple[Any, ...] = ()  # the menus' maps when last looked at
        self._watch = MapWatch(self._map_changed)
        self.before, self.after = (
            ModelMenuButton(session, class_filter=Volume, autoselect=ModelMenuButton.AUTOSELECT_NONE,
                            no_value_button_text="No map chosen", item_text_func=short_label) for _ in range(2))
        self.flip = self._button("Fli&p", "Show whichever of the two maps is hidden, and hide the other", self._flip)
        self.beside = self._button("Side &by side", "Move the maps apart; dragging turns both alike", self._beside)
        self.beside.setCheckable(True)
        self.save = self._button("&Save SR map …", "Write the super-resolved map to an MRC file", self._save)
        self.blend = self._slider(STEPS, "From the input to the super-resolved map", self._preview_blend, self._blend)
        self.level = self._slider(
            STEPS // 2, "Contour levels of both maps, at the same enclosed volume", self._preview_level, self._enclose)
        self._volume = QLabel()
        self._lay_out()
        for menu in (self.before, self.after):
            menu.value_changed.connect(self._pair_changed)
        self._pair_changed()

    @property
    def pair(self) -> Pair | None:
        """The two maps, or None unless there are two."""
        pair = Pair(self.before.value, self.after.value)
        return pair if pair.usable else None

    def compare(self, before: Any, after: Any) -> None:
        """Choose the two maps; None leaves a menu empty."""
        self.before.value = before
        self.after.value = after

    def take(self, before: Any, after: Any) -> None:
        """Compare a new result with its input; hide the previous result of the same input, which would overlap it."""
        last = self.pair
        if self._apart is not None and self._apart.pair.after is before:  # the result was placed where its input lay meanwhile
            self.lay_together()
            after.scene_position = before.scene_position
        self.compare(before, after)
        if last is not None and last.before is before and last.after is not after and is_result(last.after):
            last.put_away()

    @property
    def tiled(self) -> bool:
        """Whether the maps are side by side."""
        return self._apart is not None and self._apart.pair.usable

    def find_tiled(self) -> None:
        """Treat the maps as side by side, as restored from a session file that was saved with them so."""
        if (pair := self.pair) is not None:
            self._apart = SideBySide(pair)
        self.beside.setChecked(self.tiled)

    def lay_together(self) -> None:
        """Put maps that are side by side in one place again."""
        if self._apart is not None:
            self._apart.end()
        self._apart = None
        self.beside.setChecked(False)

    def forget(self) -> None:
        """Lay the maps together and stop watching them, because the box will be deleted."""
        self.lay_together()
        self._watch.forget()

    def _map_changed(self, _volume: Any, change: str) -> None:
        """Take back what the box says of levels once they are changed elsewhere, and follow changes between surface and image."""
        pair = self.pair
        self.level.setEnabled(pair is not None and pair.contoured)
        if change == "thresholds changed" and pair is not None and pair.levels != self._levels:
            self._volume.setText(LEVEL_HINT)

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        rows: list[list[Any]] = [
            [QLabel("Input"), self.before], [QLabel("SR map"), self.after],
            [QLabel("Blend"), self.blend], [QLabel("Level"), self.level], [None, self._volume],
        ]
        for i, (label, field) in enumerate(rows):
            if label is not None:
                label.setBuddy(field)
                grid.addWidget(label, i, 0)
            grid.addWidget(field, i, 1)
        buttons = QHBoxLayout()
        for button in (self.flip, self.beside, self.save):
            buttons.addWidget(button)
        buttons.addStretch(1)
        grid.addLayout(buttons, len(rows), 0, 1, 2)

    def _button(self, text: str, tip: str, action: Any) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda *_: action())
        return button

    def _slider(self, place: int, tip: str, preview: Any, settle: Any) -> QSlider:
        """Return a slider that calls `preview` at every move, and `settle` once it is released or rests."""
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(0, STEPS)
        slider.setValue(place)
        slider.setToolTip(tip)
        slider.setAccessibleName(tip)
        timer = QTimer(slider)
        timer.setSingleShot(True)
        timer.setInterval(SETTLE)

        def moved() -> None:
            preview()
            timer.start()

        def rested() -> None:
            if slider.isSliderDown():
                timer.start()  # keep it running, so that a release after a rest settles too
            else:
                settle()

        def released() -> None:
            if timer.isActive():
                timer.stop()
                settle()

        slider.valueChanged.connect(lambda *_: moved())
        slider.sliderReleased.connect(released)
        timer.timeout.connect(rested)
        return slider

    def _pair_changed(self) -> None:
        pair = self.pair
        for widget in (self.flip, self.beside, self.blend):
            widget.setEnabled(pair is not None)
        self.level.setEnabled(pair is not None and pair.contoured)
        self.save.setEnabled(self.after.value is not None)
        chosen = (self.before.value, self.after.value)
        if chosen == self._chosen:  # the menus report a change late, and more than once
            return
        self._chosen = chosen
        self._watch.set(*chosen)
        self.lay_together()
        self._volume.setText(LEVEL_HINT)
        self._levels = None
        self._show_blend()
        self._set_quietly(self.level, STEPS // 2)
        self._place = STEPS // 2

    def _show_blend(self) -> None:
        """Set the blend slider to match what is shown; to the middle if both maps are shown but not blended."""
        pair = self.pair
        self._set_quietly(self.blend, STEPS // 2 if pair is None or pair.blended is None else pair.blended)

    def _flip(self) -> None:
        if (pair := self.pair) is not None:
            self.lay_together()
            pair.flip()
            self._show_blend()

    def _beside(self) -> None:
        if self.beside.isChecked() and (pair := self.pair) is not None:
            self._apart = pair.side_by_side()
            self._show_blend()
        else:
            self.lay_together()

    def _preview_blend(self) -> None:
        if (pair := self.pair) is not None:
            self.lay_together()
            pair.preview_blend(self.blend.value())

    def _blend(self) -> None:
        if (pair := self.pair) is not None:
            pair.blend(self.blend.value())

    def _preview_level(self) -> None:
        self._move_levels(lambda pair, volume: pair.preview_enclose(volume, self._enclosed), "about ")

    def _enclose(self) -> None:
        self._move_levels(Pair.enclose)

    def _move_levels(self, move: Callable[[Pair, float], tuple[float, float]], about: str = "") -> None:
        """Move both levels by `move` and say what they enclose; warn, when at rest, if a map cannot be read."""
        if (pair := self.pair) is None:
            return
        try:
            if (volume := self._volume_now(pair)) is not None:
                self._left_at(pair, move(pair, volume), about)
        except MapError as error:
            self._volume.setText("These levels cannot be moved together.")
            if not about:
                self.session.logger.warning(str(error))

    def _volume_now(self, pair: Pair) -> float | None:
        """Return the volume, in Å³, that the level slider stands for; None if the maps have no contours.

        If a level was changed elsewhere, in the Volume Viewer or by a command, the slider continues from the input's
        level.
        """
        if self._levels is None or pair.levels != self._levels:
            now = pair.enclosed_volumes()
            if now is None:
                return None
            self._enclosed = now
            self._middle = now[0] / volume_at(self._place / STEPS, 1.0)
        return volume_at(self.level.value() / STEPS, self._middle)

    def _left_at(self, pair: Pair, enclosed: tuple[float, float], about: str = "") -> None:
        """Keep where the levels were left, and say what they enclose."""
        self._levels = pair.levels
        self._enclosed = enclosed
        self._place = self.level.value()
        self._volume.setText(f"Levels set: {enclosing(*enclosed, about)}.")

    def _save(self) -> None:
        name = save_name(self.after.value)
        path, _kind = QFileDialog.getSaveFileName(self, "Save SR map", name, "MRC density map (*.mrc)")
        if path:
            run(self.session, save_command(self.after.value, path))

    @staticmethod
    def _set_quietly(slider: QSlider, place: int) -> None:
        slider.findChild(QTimer).stop()  # a pending move would otherwise settle at this position
        slider.blockSignals(True)
        slider.setValue(place)
        slider.blockSignals(False)
