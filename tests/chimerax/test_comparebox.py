"""Tests of the panel's comparison with real Qt widgets: its sliders, flipping, and maps side by side."""

import re
import time

import pytest

from chimerax_library import draw_frame
from made_maps import add_map
from panels import divert_commands, jobs, open_panel, wait


def test_second_result_takes_the_place_of_the_first(tool, volume, result, monkeypatch):
    """Two results of one map would cover each other, so the earlier one is hidden; results of other maps are not."""
    from chimerax.superem.panel.compare import Pair

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))  # the library lacks `hide`
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.after.value is not result and commands == [f"hide #!{result.id_string} models"]
    tool.form.map_menu.value = add_map(tool.session, name="other")
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.before.value.name == "other" and len(commands) == 1


def test_blend_after_a_run(tool, volume, result):
    """Both maps are shown, opaque, with the slider in the middle; if only the result is shown, the slider is at its end."""
    assert volume.display and result.display and tool.compare.blend.value() == 50
    tool.compare.blend.setValue(80)
    assert [v.surfaces[0].rgba[3] for v in (volume, result)] == pytest.approx([0.2, 0.8], abs=0.01)
    volume.display = False
    tool.compare.compare(result, volume)
    tool.compare.compare(volume, result)
    assert tool.compare.blend.value() == 100


def test_blend_of_a_coloured_result(tool, volume, weights, monkeypatch):
    """A reopened panel has the slider where it was, also for a map coloured by reliability."""
    from chimerax.core.commands import run
    from chimerax.std_commands import show, transparency

    for module in (show, transparency):
        module.register_command(tool.session.logger)
    with monkeypatch.context() as patch:
        patch.setattr(tool.session.ui, "is_gui", False)  # with a window, `key` is run, which the library lacks
        result = run(tool.session, f"superem #1 model {weights} reliability true")
    assert result.surfaces[0].vertex_colors is not None
    tool.compare.blend.setValue(70)
    assert wait(tool.session, lambda: "transparency" in tool.session.log.text(), 5)
    tool.delete()
    again = open_panel(tool.session)
    assert again.compare.blend.value() == 70
    again.delete()


@pytest.mark.parametrize("name", ["blend", "level"])
def test_slider_held_still_settles_when_let_go(tool, result, monkeypatch, name):
    """A slider held still runs its commands when it is released, not before."""
    from chimerax.superem.panel.compare import Pair
    from chimerax.superem.panel.comparebox import SETTLE

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))
    slider = getattr(tool.compare, name)
    slider.setSliderDown(True)
    slider.setSliderPosition(slider.minimum() + 40)
    rest = time.monotonic() + 1.5 * SETTLE / 1000
    assert wait(tool.session, lambda: time.monotonic() > rest)
    assert not commands
    slider.setSliderDown(False)
    assert commands


def test_flip_soon_after_a_move_of_blend(tool, result, monkeypatch):
    """A pending move of the slider, by key or wheel, is dropped when Flip shows one map alone."""
    from chimerax.superem.panel.compare import Pair
    from chimerax.superem.panel.comparebox import SETTLE

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))
    tool.compare.blend.setValue(60)
    tool.compare.flip.click()
    rest = time.monotonic() + 1.5 * SETTLE / 1000
    assert wait(tool.session, lambda: time.monotonic() > rest)
    assert [command.split()[0] for command in commands] == ["hide"]


def compare_at(tool, levels):
    """Contour two maps at their `levels`, and compare them in the panel."""
    for volume, level in levels.items():
        volume.set_parameters(surface_levels=[level])
    draw_frame(tool.session)
    tool.compare.compare(*levels)
    assert wait(tool.session, tool.compare.level.isEnabled)


def test_levels_that_differ_are_brought_together_by_dragging(tool):
    """From the slider's first move on, both contours enclose about the volume that the panel shows."""
    from chimerax.superem.volumes import contoured_volume, density_of

    maps = add_map(tool.session, name="one"), add_map(tool.session, name="other")
    compare_at(tool, dict(zip(maps, (0.5, 1.0), strict=True)))
    tool.compare.level.setSliderDown(True)
    for move in (2, 5):
        tool.compare.level.setSliderPosition(tool.compare.level.value() + move)
        said = float(re.search("about ([0-9,]+) Å³", tool.compare._volume.text())[1].replace(",", ""))
        for volume in maps:
            assert contoured_volume(density_of(volume), volume.surfaces[0].level) == pytest.approx(said, rel=0.2)


def test_volume_of_a_masked_map_is_told_as_it_is(tool):
    """At the left end of the slider there is not enough density inside the mask: the panel says what both contours enclose."""
    from chimerax.superem.volumes import contoured_volume, density_of

    masked, smooth = add_map(tool.session, name="masked"), add_map(tool.session, name="smooth")
    masked.data.array[masked.data.array < 0.3] = 0
    masked.data.values_changed()
    compare_at(tool, {masked: 0.4, smooth: 0.4})
    tool.compare.level.setValue(0)
    assert wait(tool.session, lambda: tool.compare._volume.text().startswith("Levels set: both enclose ") and
                "about" not in tool.compare._volume.text())
    said = float(re.search("([0-9,]+) Å³", tool.compare._volume.text())[1].replace(",", ""))
    for volume in (masked, smooth):
        assert contoured_volume(density_of(volume), volume.surfaces[0].level) == pytest.approx(said, rel=0.02)


@pytest.mark.parametrize("name", ["flip", "blend"])
def test_maps_that_are_apart_come_together(tool, result, monkeypatch, name):
    """Flipping and blending need both maps in one place, so they first undo side by side."""
    from chimerax.core.commands import run as run_command
    from chimerax.std_commands import show, transparency

    def run(session, command):
        commands.append(command)
        if command.startswith("show"):  # `tile` is not in the library
            run_command(session, command)

    for module in (show, transparency):
        module.register_command(tool.session.logger)
    commands = []
    divert_commands(monkeypatch, run)
    tool.compare.blend.setValue(70)
    tool.compare.beside.click()
    assert tool.compare.blend.value() == 50, "both are opaque, and the slider says otherwise"
    commands.clear()
    tool.compare.flip.click() if name == "flip" else tool.compare.blend.setValue(40)
    assert commands[0].startswith("tile off") and not tool.compare.beside.isChecked()


def test_what_the_box_says_of_levels_is_taken_back_when_one_is_changed_elsewhere(tool, volume, result):
    """The volumes that the levels enclosed are no longer shown; changing colours leaves them."""
    from chimerax.superem.panel.comparebox import LEVEL_HINT

    tool.compare.level.setValue(60)
    assert wait(tool.session, lambda: tool.compare._volume.text().startswith("Levels set: both enclose "))
    assert wait(tool.session, lambda: "about" not in tool.compare._volume.text())
    result.set_parameters(surface_colors=[(1, 0, 0, 1)])
    assert tool.compare._volume.text() != LEVEL_HINT
    result.set_parameters(surface_levels=[result.surfaces[0].level / 2])
    assert tool.compare._volume.text() == LEVEL_HINT


def test_level_slider_follows_the_display_style(tool, volume, result):
    """Maps shown as images have no contours to move."""
    assert tool.compare.level.isEnabled()
    result.set_display_style("image")
    draw_frame(tool.session)
    assert not tool.compare.level.isEnabled()
    result.set_display_style("surface")
    draw_frame(tool.session)
    assert tool.compare.level.isEnabled()


def test_maps_are_watched_only_by_an_open_panel_that_compares_them(tool, volume, result):
    """Their changes reach the panel's widgets only while these exist, though menus may report a change until the very end."""
    from chimerax.superem.panel.comparebox import CompareBox

    def watched():
        return [len(each.change_callbacks) - count for each, count in zip(maps, before, strict=True)]

    maps = volume, result, add_map(tool.session, name="other")
    before = [len(each.change_callbacks) for each in maps]
    box = CompareBox(tool.session)
    box.compare(volume, result)
    assert wait(tool.session, lambda: watched() == [1, 1, 0])
    box.compare(volume, maps[2])
    assert wait(tool.session, lambda: watched() == [1, 0, 1])
    box.forget()
    box.after.value_changed.emit()
    assert watched() == [0, 0, 0]


def test_a_result_of_the_map_that_was_moved_aside_lies_on_it(tool, volume, weights, monkeypatch):
    """While two maps are side by side, the right one is not where it belongs; its result is."""
    from chimerax.geometry import translation

    def move(session, command):  # `tile` is not in the library
        if "tile" in command:
            other.position = home if "tile off" in command else translation((50, 0, 0)) * home

    divert_commands(monkeypatch, move)
    other, home = add_map(tool.session, name="other"), translation((0, 0, 7))
    other.position = home
    tool.compare.compare(volume, other)
    assert wait(tool.session, tool.compare.beside.isEnabled)
    tool.compare.beside.click()
    assert not other.position.same(home)
    tool.form.map_menu.value = other
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.before.value is other and not tool.compare.beside.isChecked()
    assert other.scene_position.same(home) and tool.compare.after.value.scene_position.same(home)


def test_an_original_that_was_compared_stays_shown(tool, volume):
    """Only an earlier result makes way for a new one."""
    original = add_map(tool.session, name="another original")
    tool.compare.compare(volume, original)
    tool.form.map_menu.value = volume
    assert wait(tool.session, tool.run_button.isEnabled)
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.after.value is not original and original.display


def test_level_of_a_map_that_cannot_be_read(tool, volume):
    """A skewed map is shown, but its volume cannot be measured: one sentence in the log, no traceback."""
    skewed = add_map(tool.session, name="skewed", cell_angles=(90, 100, 90))
    compare_at(tool, {volume: 0.4, skewed: 0.4})
    tool.compare.level.setValue(60)
    assert wait(tool.session, lambda: "has a skewed unit cell" in tool.session.log.text(), 5)
    assert "cannot be moved together" in tool.compare._volume.text()
    assert not tool.session.log.text("bug")
