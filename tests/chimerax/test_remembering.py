"""What the panel keeps: choices from one start to the next, and all that a session file brings back."""

import pytest

from panels import open_panel


def test_choices_are_remembered(tool, volume):
    """A panel that is opened anew says what the last one said."""
    from chimerax.superem.panel.choices import Choices

    chosen = Choices("cpu", tool.form.choices.model, "fast", "shown", "input", "8", 2, reliability=True)
    tool.form.set_choices(chosen)
    tool.form.advanced.setChecked(True)
    tool.delete()
    again = open_panel(tool.session)
    assert again is not tool and again.form.choices == chosen and again.form._rotations.isVisible()
    again.delete()


def test_session_brings_the_panel_back(tool, volume, result, tmp_path):
    """After save and open the panel has its choices, its map and the pair that is compared."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save

    choices, session, path = tool.form.choices, tool.session, str(tmp_path / "panel.cxs")
    save(session, path)
    tool.form.set_choices(type(choices)())
    open_session(session, path)
    again, = [t for t in session.tools.list() if t.display_name == "SuperEM"]
    assert again.form.choices == choices
    assert again.form.map_menu.value.name == "blobs"
    assert [m.value.name for m in (again.compare.before, again.compare.after)] == ["blobs", "blobs superem"]
    again.delete()


def test_session_saved_side_by_side(tool, result, tmp_path, monkeypatch):
    """Maps that were apart come back apart with the button down; pressing it lays them together."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.geometry import translation
    from chimerax.superem.panel.compare import Pair

    def move(pair, command):  # `tile` is not in the library
        commands.append(command)
        if "tile" in command:
            where = pair.before.scene_position
            pair.after.scene_position = where if "tile off" in command else translation((50, 0, 0)) * where

    commands = []
    monkeypatch.setattr(Pair, "_run", move)
    session, path = tool.session, str(tmp_path / "apart.cxs")
    tool.compare.beside.click()
    tool.compare.after.value_changed.emit()  # as the menus do now and then, though nothing changed
    assert tool.compare.tiled
    save(session, path)
    open_session(session, path)
    again, = [t for t in session.tools.list() if t.display_name == "SuperEM"]
    before, after = again.compare.pair.maps
    assert again.compare.beside.isChecked() and again.compare.tiled
    assert commands[-1] == 'mouse left "rotate independent"'
    assert not before.scene_position.same(after.scene_position)
    again.compare.beside.click()
    assert before.scene_position.same(after.scene_position)
    again.delete()


@pytest.mark.parametrize("choices", [None, {}, {"tiling": "of another version", "unknown": 1, "batch_size": "x"}])
def test_session_of_another_version(tool, choices):
    """What is not understood is left at its default."""
    from chimerax.superem.panel.choices import Choices

    tool.set_state_from_snapshot(tool.session, {"version": 1, "name": "SuperEM", "shown": True, "choices": choices})
    assert tool.form.choices == Choices()
