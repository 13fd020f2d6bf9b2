"""Tests of what the panel keeps: choices between starts, and its state in session files."""

import pytest

from chimerax_library import draw_frame
from made_maps import RESULT
from panels import divert_commands, open_panel


def test_choices_are_remembered(tool, volume):
    """A newly opened panel has the choices of the last one."""
    from chimerax.superem.panel.choices import Choices

    chosen = Choices("cpu", tool.form.choices.model, "fast", "shown", "input", "8", 2, reliability=True)
    tool.form.set_choices(chosen)
    tool.form.advanced.setChecked(True)
    tool.delete()
    again = open_panel(tool.session)
    assert again is not tool and again.form.choices == chosen and again.form._rotations.isVisible()
    again.delete()


def test_session_brings_the_panel_back(tool, volume, result, tmp_path):
    """After a session is saved and opened, the panel has its choices, its map and the compared pair."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save

    choices, session, path = tool.form.choices, tool.session, str(tmp_path / "panel.cxs")
    save(session, path)
    tool.form.set_choices(type(choices)())
    open_session(session, path)
    again, = [t for t in session.tools.list() if t.display_name == "SuperEM"]
    assert again.form.choices == choices
    assert again.form.map_menu.value.name == "blobs"
    assert [m.value.name for m in (again.compare.before, again.compare.after)] == ["blobs", RESULT]
    again.delete()


@pytest.mark.parametrize("emptied", [True, False])
def test_session_without_a_comparison(tool, volume, result, tmp_path, monkeypatch, emptied):
    """A comparison that the user emptied stays empty; a file without this entry gives the newest result."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save

    session, path = tool.session, str(tmp_path / "empty.cxs")
    tool.compare.compare(None, None)
    if not emptied:
        snapshot = type(tool).take_snapshot
        monkeypatch.setattr(type(tool), "take_snapshot", lambda *asked: {
            name: value for name, value in snapshot(*asked).items() if name != "compared"})
    save(session, path)
    open_session(session, path)
    again, = [t for t in session.tools.list() if t.display_name == "SuperEM"]
    assert (again.compare.pair is None) == emptied
    again.delete()


def test_session_saved_side_by_side(tool, result, tmp_path, monkeypatch):
    """Maps saved side by side are restored so, with the button down; pressing it moves them together."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.geometry import translation

    def move(session, command):  # `tile` is not in the library
        if "tile" in command:
            before, after = session.models.list(type=type(result))
            where = before.scene_position
            after.scene_position = where if "tile off" in command else translation((50, 0, 0)) * where

    divert_commands(monkeypatch, move)
    session, path = tool.session, str(tmp_path / "apart.cxs")
    tool.compare.beside.click()
    tool.compare.after.value_changed.emit()  # the menus sometimes emit it without a change
    assert tool.compare.tiled
    save(session, path)
    open_session(session, path)
    again, = [t for t in session.tools.list() if t.display_name == "SuperEM"]
    before, after = again.compare.pair.maps
    assert again.compare.beside.isChecked() and again.compare.tiled
    assert not before.scene_position.same(after.scene_position)
    again.compare.beside.click()
    assert before.scene_position.same(after.scene_position)
    again.delete()


def test_reliability_follows_a_result_of_a_session(window, volume, weights, tmp_path, monkeypatch):
    """After a session is opened, the map that colours a result moves with it, whatever the previous session held."""
    from chimerax.core.commands import run
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.geometry import translation

    with monkeypatch.context() as patch:
        patch.setattr(window.ui, "is_gui", False)  # with a window, `key` is run, which the library lacks
        run(window, f"superem #1 model {weights} reliability true")
    draw_frame(window)
    path = str(tmp_path / "coloured.cxs")
    tool = open_panel(window)
    save(window, path)
    tool.delete()
    for handler in window.superem_expected_q:  # as in a newly started ChimeraX
        handler.remove()
    del window.superem_expected_q
    open_session(window, path)
    again, = [t for t in window.tools.list() if t.display_name == "SuperEM"]
    result, expected = (next(m for m in window.models.list() if m.name == f"{RESULT}{q}") for q in ("", " expected Q"))
    level = result.surfaces[0].level
    colours = {}
    for x in (0, 15):
        result.position = translation((x, 0, 0)) * result.position
        result.set_parameters(surface_levels=[1.2 * level])
        draw_frame(window)
        colours[x] = result.surfaces[0].vertex_colors.copy()
        result.set_parameters(surface_levels=[level])
        draw_frame(window)
    assert (colours[0] == colours[15]).all() and len(set(map(tuple, colours[0]))) > 3
    assert expected.scene_position.same(result.scene_position)
    again.delete()


@pytest.mark.parametrize("choices", [None, {}, {"tiling": "of another version", "unknown": 1, "batch_size": "x"}])
def test_session_of_another_version(tool, choices):
    """Unknown values are ignored, and the defaults kept."""
    from chimerax.superem.panel.choices import Choices

    tool.set_state_from_snapshot(tool.session, {"version": 1, "name": "SuperEM", "shown": True, "choices": choices})
    assert tool.form.choices == Choices()
