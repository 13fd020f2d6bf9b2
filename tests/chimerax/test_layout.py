"""Tests of the panel's layout: nothing is cut off or hidden, with the keyboard, in any theme and at any width."""

import pytest

from made_maps import add_map
from panels import jobs, wait


def place_of(widget, area):
    """Return the position of a widget's top left corner in the panel."""
    from Qt.QtCore import QPoint

    return widget.mapTo(area, QPoint(0, 0))


def test_what_matters_is_in_sight(tool, volume):
    """A low panel scrolls to the job's row when the job runs, and to the comparison when it has ended."""
    from Qt.QtWidgets import QPushButton

    def in_sight(widget):
        return not widget.visibleRegion().isEmpty() and widget.visibleRegion().boundingRect().height() == widget.height()

    tool.form.advanced.setChecked(True)
    area = tool.tool_window.ui_area
    area.resize(area.minimumSizeHint())
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    assert not in_sight(tool.compare.save)
    tool.form.set_choices(type(tool.form.choices)("cpu", tool.form.choices.model, "paper"))
    tool.run_button.click()
    assert wait(tool.session, lambda: in_sight(tool.jobs.findChild(QPushButton)), 10)
    jobs(tool.session)[0].cancel()
    assert wait(tool.session, lambda: not jobs(tool.session))
    tool.form.set_choices(type(tool.form.choices)("cpu", tool.form.choices.model))
    tool.run_button.click()
    assert wait(tool.session, lambda: in_sight(tool.compare.save), 20)
    area.resize(area.minimumSizeHint())  # as when the Volume Viewer takes room for the new map
    assert wait(tool.session, lambda: tool._scroll.height() < tool.compare.height() and in_sight(tool.compare.save), 5)


def test_run_and_its_estimate_are_always_in_sight(tool, volume):
    """They are visible in the lowest possible panel, with the advanced part open and without scrolling."""
    tool.form.advanced.setChecked(True)
    area = tool.tool_window.ui_area
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    area.resize(area.minimumSizeHint())
    assert wait(tool.session, lambda: tool._scroll.verticalScrollBar().maximum() > 0, 5)
    for widget in (tool.run_button, tool.estimate, tool.caution):
        assert widget.visibleRegion().boundingRect() == widget.rect()


@pytest.fixture
def side(tool):
    """Return a function that makes a window of a given height, with docks of a Log, a Volume Viewer and the panel at its side."""
    from Qt.QtCore import Qt
    from Qt.QtWidgets import QDockWidget, QMainWindow, QTextEdit

    window, area, docks = QMainWindow(), tool.tool_window.ui_area, []
    window.setAnimated(False)

    def filled(height):
        for widget in (QTextEdit(), QTextEdit(), area):
            docks.append(QDockWidget(window))
            docks[-1].setWidget(widget)
            window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, docks[-1])
        tool._room._timer.stop()
        window.resize(1000, height)
        window.show()
        window.resizeDocks(docks, [10 * height, 120, 1], Qt.Orientation.Vertical)
        _log, viewer, panel = docks
        assert wait(tool.session, lambda: viewer.height() < 130 and panel.height() < panel.minimumSizeHint().height() + 20, 5)
        return docks

    yield filled
    area.setParent(None)


@pytest.mark.parametrize(("height", "part"), [(700, 0.4), (1600, 0.24)])
def test_open_panel_takes_room(tool, side, height, part):
    """The panel takes its share of the window, or in a high one only what it needs, from its highest neighbour."""
    _log, viewer, panel = side(height)
    window = panel.parent()
    before, least = viewer.height(), window.minimumSizeHint().height()
    tool._room._timer.start()
    assert wait(tool.session, lambda: panel.height() == pytest.approx(part * height, rel=0.1), 5), panel.height()
    assert (window.height(), viewer.height()) == (height, before) and window.minimumSizeHint().height() <= least


@pytest.mark.parametrize("height", [700, 580])
def test_squeezed_panel_takes_its_room_back(tool, side, height):
    """As in ChimeraX, the Volume Viewer briefly gets a larger minimum height for a map; the panel then recovers its height."""
    from Qt.QtCore import QTimer

    _log, viewer, panel = side(height)
    tool._room._timer.start()
    assert wait(tool.session, lambda: panel.height() == pytest.approx(0.4 * height, rel=0.1), 5)
    before = panel.height()
    viewer.widget().setMinimumHeight(350)
    QTimer.singleShot(200, lambda: viewer.widget().setMinimumHeight(50))
    assert wait(tool.session, lambda: panel.height() < before - 10 and viewer.height() > 340, 5)
    assert wait(tool.session, lambda: panel.height() == pytest.approx(before, abs=2), 5), panel.height()


def test_room_that_the_user_takes(tool, side, monkeypatch):
    """A panel that the user makes smaller, or that makes room for another tool, does not take its room back."""
    from Qt.QtCore import Qt
    from Qt.QtWidgets import QApplication, QDockWidget, QTextEdit

    log, viewer, panel = side(700)
    window = panel.parent()
    tool._room._timer.start()
    assert wait(tool.session, lambda: panel.height() > 250, 5)
    with monkeypatch.context() as patch:
        patch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.LeftButton)
        window.resizeDocks([log, panel], [600, 200], Qt.Orientation.Vertical)
        assert wait(tool.session, lambda: panel.height() < 230, 5)
    assert not wait(tool.session, lambda: panel.height() > 230, 1)
    new = QDockWidget(window)
    new.setWidget(QTextEdit())
    new.widget().setMinimumHeight(300)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, new)
    assert not wait(tool.session, lambda: new.isVisible() and new.height() < 300, 1)


def test_run_stays_where_it_is(tool, volume):
    """A longer estimate must not move the Run button while the mouse is on its way to it."""
    area, estimate = tool.tool_window.ui_area, tool.estimate

    def settled():
        return all(note.height() == note.heightForWidth(note.width()) for note in (estimate, tool.caution))

    area.resize(480, 900)
    assert wait(tool.session, lambda: estimate.text().startswith("About") and settled())
    height, place = estimate.height(), place_of(tool.run_button, area)
    estimate.setText(3 * estimate.text())
    assert wait(tool.session, lambda: estimate.height() > height and settled(), 5)
    assert place_of(tool.run_button, area) == place


def test_keyboard_reaches_everything(tool, result):
    """Tab visits every enabled control, in order from top to bottom."""
    from Qt.QtWidgets import QAbstractButton, QAbstractSlider, QComboBox, QScrollBar, QSpinBox, QWidget

    tool.form.advanced.click()
    area = tool.tool_window.ui_area
    area.resize(480, 1100)
    assert wait(tool.session, lambda: tool._scroll.verticalScrollBar().maximum() == 0, 5)
    wanted = {w for kind in (QAbstractButton, QComboBox, QAbstractSlider, QSpinBox) for w in area.findChildren(kind)
              if w.isEnabled() and not isinstance(w, QScrollBar)}
    seen, widget = [], tool.form.map_menu
    while widget not in seen:
        if widget in wanted:
            assert widget.focusPolicy().value & 1, f"{widget} does not take the focus by Tab"  # Qt.FocusPolicy.TabFocus
            seen.append(widget)
        widget = next_in_chain(widget, wanted)
    assert set(seen) == wanted
    heights = [place_of(w, area).y() for w in seen if isinstance(w, QWidget)]
    assert all(below >= above - 10 for above, below in zip(heights, heights[1:], strict=False))


def test_every_shortcut_is_its_own(tool, volume):
    """No Alt shortcut is used twice in the panel, or belongs to a menu of the window (File, Edit, Actions, ...)."""
    from Qt.QtWidgets import QAbstractButton, QLabel

    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    area = tool.tool_window.ui_area
    texts = [w.text() for kind in (QAbstractButton, QLabel) for w in area.findChildren(kind)]
    letters = [text[text.index("&") + 1].upper() for text in texts if "&" in text]
    assert len(letters) >= 10 and len(set(letters)) == len(letters)
    assert not set(letters) & set("FEATVH")
    assert wait(tool.session, lambda: not jobs(tool.session))


def test_narrowest_panel_shows_whole_rows(tool, result):
    """At the smallest width, with the advanced part open and long names, nothing needs sideways scrolling."""
    from Qt.QtWidgets import QScrollArea

    long = add_map(tool.session, name="EMD_12345_LOCALLY_REFINED.map superem (model my_network, resolution 3.85, step 2)")
    tool.form.map_menu.value = long
    tool.compare.compare(tool.compare.before.value, long)
    assert tool.compare.after.text() == "EMD_12345_LOCALLY_REFI…tion 3.85, step 2) #3"
    tool.form.advanced.setChecked(True)
    area = tool.tool_window.ui_area
    area.resize(area.minimumSizeHint())
    scroll = area.findChild(QScrollArea)
    assert wait(tool.session, lambda: scroll.horizontalScrollBar().maximum() == 0, 5)


def test_tab_passes_by_the_closed_part(tool):
    """The fields of the advanced part are visible, and so can have the focus, only while it is open."""
    assert not tool.form._rotations.isVisible()
    tool.form.advanced.click()
    assert tool.form._rotations.isVisible()
    tool.form.advanced.click()
    assert not tool.form._rotations.isVisible()


def test_theme_that_changes_meanwhile(tool, result):
    """If the system's theme changes, all text of the open panel changes its colours."""
    from Qt.QtGui import QColor, QPalette
    from Qt.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel

    tool.form.advanced.setChecked(True)
    area, palette = tool.tool_window.ui_area, QApplication.palette()
    other, roles = QPalette(palette), (QPalette.ColorRole.WindowText, QPalette.ColorRole.ButtonText, QPalette.ColorRole.Text)
    for role in roles:
        other.setColor(role, QColor("#00ff00"))
    QApplication.setPalette(other)
    try:

        def colors():
            texts = [w for kind in (QAbstractButton, QComboBox, QLabel) for w in area.findChildren(kind) if w.isVisible()]
            assert tool.form.advanced in texts
            return {w.palette().color(role).name() for w in texts for role in roles}

        assert wait(tool.session, lambda: colors() == {"#00ff00"}, 5)
    finally:
        QApplication.setPalette(palette)


@pytest.mark.parametrize("width", [0, 480, 900])
def test_sentences_have_the_height_that_they_need(tool, volume, result, width):
    """At any width, they are neither cut off nor surrounded by gaps, and no widgets overlap."""
    from Qt.QtWidgets import QFrame, QScrollArea

    area = tool.tool_window.ui_area
    area.resize(max(width, area.minimumSizeHint().width()), area.minimumSizeHint().height())
    tool.run_button.click()  # adds a job's row

    def heights():
        notes = [note for note in area.findChildren(type(tool.report)) if note.isVisible()]
        return [(n.text(), n.height()) for n in notes], [(n.text(), n.heightForWidth(n.width())) for n in notes]

    assert wait(tool.session, lambda: heights()[0] == heights()[1], 3), heights()
    scroll, = area.findChildren(QScrollArea)
    line = next(frame for frame in area.findChildren(QFrame) if frame.frameShape() == QFrame.Shape.HLine)
    assert scroll.geometry().bottom() < line.y() and line.geometry().bottom() < place_of(tool.run_button, area).y()
    assert wait(tool.session, lambda: not jobs(tool.session))


@pytest.mark.parametrize("advanced", [False, True])
def test_panel_that_changes_its_width(tool, volume, result, advanced):
    """After each change, sentences take the lines that they need, and no control is squeezed."""
    from Qt.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox

    tool.form.advanced.setChecked(advanced)
    area = tool.tool_window.ui_area

    def squeezed():
        notes = [(n.text(), n.height(), n.heightForWidth(n.width()))
                 for n in (tool.form._summary, tool.estimate, tool.report, tool.caution)]
        low = [w for kind in (QAbstractButton, QComboBox, QAbstractSpinBox) for w in area.findChildren(kind)
               if w.isVisible() and w.height() < w.minimumSizeHint().height()]
        return [note for note in notes if note[1] != note[2]] + low

    for width in (area.minimumSizeHint().width(), 1100, 700, 430, 1100):
        area.resize(width, 700)
        assert wait(tool.session, lambda: not squeezed(), 3), (width, squeezed())


def next_in_chain(widget, wanted):
    """Return the next widget of `wanted` in the focus chain."""
    widget = widget.nextInFocusChain()
    while widget not in wanted:
        widget = widget.nextInFocusChain()
    return widget


@pytest.mark.parametrize("scale", [1, 2])
def test_nothing_is_cut_off(tool, result, scale):
    """With enlarged text, all controls have the width that they need, in a panel of 480 pixels times the scale."""
    from Qt.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel

    area, font = tool.tool_window.ui_area, QApplication.font()
    large = QApplication.font()
    large.setPointSizeF(font.pointSizeF() * scale)
    QApplication.setFont(large)
    try:
        area.resize(480 * scale, 900 * scale)

        def widgets():
            return [w for kind in (QAbstractButton, QComboBox, QLabel) for w in area.findChildren(kind) if w.isVisible()]

        assert wait(tool.session, lambda: all(w.width() >= w.minimumSizeHint().width() for w in widgets()), 5)
        for widget in widgets():
            assert widget.mapTo(area, widget.rect().topRight()).x() < area.width(), widget
    finally:
        QApplication.setFont(font)
