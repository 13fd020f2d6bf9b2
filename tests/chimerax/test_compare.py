"""Tests of the comparison of two maps in place: blending, flipping, colours, side by side and saving."""

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import add_map, blobs
from panels import divert_commands


def test_a_map_coloured_by_another_stays_so(recolouring, pair):
    """Blending, flipping and levels, previewed or final, keep the colours of the other map, with the requested transparency."""
    from chimerax.core.commands import run

    run(pair.session, f"color sample #{pair.after.id_string} map #{pair.before.id_string} palette 0,red:1,blue")

    def colours():
        draw_frame(pair.session)
        surface = pair.after.surfaces[0]
        assert len(surface.vertex_colors) == len(surface.vertices)
        assert len(np.unique(surface.vertex_colors[:, :3], axis=0)) > 3
        return surface.vertex_colors[:, 3]

    for place in (60, 100):
        pair.preview_blend(place)
        pair.blend(place)
        assert colours() == pytest.approx(255 * place / 100, abs=2)
        pair.after.set_parameters(surface_levels=[0.2 + place / 1000])
        assert colours() == pytest.approx(255 * place / 100, abs=4)
    pair.blend(30)
    pair.flip()
    pair.flip()
    pair.enclose(800)
    assert colours() == pytest.approx(255)


def test_a_map_coloured_by_another_is_moved_apart_with_its_colours(recolouring, pair, monkeypatch):
    """The colours survive `tile`, which draws a pending level and moves a map before the map of its colours follows."""
    from chimerax.core.commands import run
    from chimerax.geometry import translation
    from chimerax.superem.expected_q import watch
    from chimerax.superem.panel.compare import Pair

    def tile(_pair, command):
        if command.startswith("tile"):  # `tile` is not in the library
            pair.after.position = translation((50, 0, 0))
            draw_frame(pair.session)
        else:
            run(pair.session, command)

    grid = pair.after.data
    expected = add_map(pair.session, np.pad(np.roll(blobs(), 3), 1), name="after expected Q", step=grid.step,
                       origin=grid.ijk_to_xyz((-1, -1, -1)))
    run(pair.session, f"color sample #{pair.after.id_string} map #{expected.id_string} palette 0,red:1,blue")
    draw_frame(pair.session)
    watch(pair.session)
    pair.after.set_parameters(surface_levels=[0.4])
    monkeypatch.setattr(Pair, "_run", tile)
    pair.side_by_side()
    surface = pair.after.surfaces[0]
    assert len(np.unique(surface.vertex_colors, axis=0)) > 3 and len(surface.vertex_colors) == len(surface.vertices)
    assert expected.position.same(pair.after.position)


def test_flip(pair):
    """Flipping shows one map alone, then the other."""
    assert pair.flip() is pair.before
    assert (pair.before.display, pair.after.display) == (True, False)
    assert pair.flip() is pair.after
    assert (pair.before.display, pair.after.display) == (False, True)


def test_flip_after_all_of_a_map_was_hidden(pair):
    """`hide #2 models` hides the surface itself as well."""
    from chimerax.core.commands import run

    run(pair.session, f"hide {pair.spec} models")
    for _ in pair.maps:
        assert all(s.display for s in pair.flip().surfaces)


def test_flip_after_blending_is_opaque(pair):
    """A map that is shown alone is not transparent."""
    pair.blend(60)
    assert pair.flip().surfaces[0].rgba[3] == 1


@pytest.mark.parametrize("percent", [0, 30, 100])
def test_blend(pair, percent):
    """The slider fades one map out and the other in; it looks the same while dragging and after."""
    pair.preview_blend(percent)
    dragged = [v.surfaces[0].rgba[3] for v in (pair.before, pair.after)]
    pair.blend(percent)
    assert [v.surfaces[0].rgba[3] for v in (pair.before, pair.after)] == pytest.approx(dragged, abs=0.01)
    assert dragged == pytest.approx([1 - percent / 100, percent / 100], abs=0.01)
    assert pair.before.display and pair.after.display
    assert pair.blended == percent


def test_opaque_maps_are_not_blended(pair):
    """Two opaque maps correspond to no position of the slider; a single one corresponds to an end."""
    assert pair.blended is None
    pair.before.display = False
    assert pair.blended == 100
    pair.flip()
    assert pair.blended == 0


def test_side_by_side_is_tile(pair, monkeypatch):
    """Moving the maps side by side and back uses ChimeraX's own `tile`."""
    commands = []
    divert_commands(monkeypatch, lambda _session, command: commands.append(command))
    view = pair.session.main_view
    view.center_of_rotation_method = "front center"
    pair.side_by_side().end()
    before = f"#{pair.before.id_string}"
    spec = f"{before}#{pair.after.id_string}"
    assert f"tile {spec} columns 2" in commands[1] and commands[1].endswith(f"independentRotation false; cofr {before}")
    assert commands[2] == f"tile off {spec}; cofr frontCenter"
    view.center_of_rotation = (1, 2, 3.5)
    apart = pair.side_by_side()
    pair.session.models.close([pair.after])
    apart.end()
    assert commands[-1] == "cofr 1,2,3.5"
    view.center_of_rotation_method = "front center"


def test_a_map_in_a_group_is_compared_and_not_its_neighbour(pair):
    """#1.1,2 would be #1.1 and #1.2."""
    from chimerax.core.commands import run
    from chimerax.core.models import Model

    session, group = pair.session, Model("group", pair.session)
    session.models.add([group])
    neighbour = add_map(session, name="neighbour")
    session.models.assign_id(pair.before, (*group.id, 1))
    session.models.assign_id(neighbour, (*group.id, pair.after.id[0]))
    run(session, f"transparency #{neighbour.id_string} 70 target s; transparency #{pair.after.id_string} 50 target s")
    pair.flip()
    draw_frame(session)
    assert [round(v.surfaces[0].rgba[3], 1) for v in (neighbour, pair.before, pair.after)] == [0.3, 1, 1]


def test_only_one_map_moves_when_both_are_turned_side_by_side(pair):
    """It keeps its place on the screen and turns like the other map, which stays aligned with all other models."""
    from chimerax.geometry import rotation, translation
    from chimerax.superem.panel.beside import SideBySide

    def frame():
        pair.session.triggers.activate_trigger("new frame", None)
        draw_frame(pair.session)

    def on_screen():
        return camera.position.inverse() * pair.after.scene_position * pair.before.scene_position.inverse() * camera.position

    camera, other = pair.session.main_view.camera, add_map(pair.session, name="other")
    pair.before.position = rotation((1, 0, 0), 20) * translation((3, 4, 5))
    pair.after.position = translation((80, 2, 0)) * pair.before.position
    places = pair.before.position, other.position
    apart = SideBySide(pair)
    frame()
    assert np.allclose(pair.after.position.matrix, (translation((80, 2, 0)) * pair.before.position).matrix)
    there = on_screen().matrix
    for axis, angle in (((0, 1, 0), 60), ((1, 1, 0), -35), ((0, 0, 1), 140)):
        camera.position = rotation(axis, angle, center=(20, 20, 20)) * camera.position
        frame()
        assert np.allclose(on_screen().matrix, there, atol=0.01)
    assert pair.before.position.same(places[0]) and other.position.same(places[1])
    pair.after.position = pair.before.position  # as after `tile off`, typed while they are apart
    camera.position = rotation((0, 1, 0), 30) * camera.position
    frame()
    assert pair.after.position.same(pair.before.position, 0.01, 0.01)
    apart._handler.remove()


@pytest.mark.parametrize("closed", ["before", "after"])
def test_one_map_is_closed_side_by_side(pair, monkeypatch, closed):
    """The result returns to the place of its input."""
    from chimerax.geometry import rotation, translation
    from chimerax.superem.panel.beside import SideBySide

    monkeypatch.setattr("chimerax.superem.panel.beside.run", lambda *_: None)
    home = rotation((1, 0, 0), 20) * translation((3, 4, 5))
    pair.before.position, pair.after.position = home, translation((80, 2, 0)) * home
    apart = SideBySide(pair)
    pair.session.triggers.activate_trigger("new frame", None)
    pair.session.models.close([getattr(pair, closed)])
    apart.end()
    assert pair.after.deleted or pair.after.position.same(home, 0.01, 0.01)


def test_usable(pair):
    """A pair needs two different maps that are open."""
    from chimerax.superem.panel.compare import Pair

    assert pair.usable
    assert not Pair(pair.before, pair.before).usable and not Pair(None, pair.after).usable
    pair.session.models.close([pair.after])
    assert not pair.usable


@pytest.mark.parametrize(("path", "written"), [
    ("/tmp/a.mrc", "/tmp/a.mrc"), ("/tmp/a", "/tmp/a.mrc"), ("/tmp/two words.map", '"/tmp/two words.map"')])
def test_save_command(pair, path, written):
    """The path is quoted if necessary, and has a suffix that ChimeraX knows."""
    from chimerax.superem.panel.compare import save_command

    assert save_command(pair.after, path) == f"save {written} models #{pair.after.id_string}"
