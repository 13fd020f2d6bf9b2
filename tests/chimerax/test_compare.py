"""Tests of the comparison of two maps in place."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chimerax_library import draw_frame
from made_maps import add_map, blobs


@pytest.fixture
def pair(session):
    """Two maps of the same blobs, the second one sharper."""
    from chimerax.core.commands import run
    from chimerax.std_commands import hide, show, transparency
    from chimerax.superem.panel.compare import Pair

    draw_frame(session)
    for module in (hide, show, transparency):
        module.register_command(session.logger)
    before, after = add_map(session, name="before"), add_map(session, blobs() ** 2, name="after")
    for volume in (before, after):
        run(session, f"volume #{volume.id_string} level 0.3 style surface")
    draw_frame(session)
    return Pair(before, after)


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


def test_maps_that_were_images_are_contoured(pair):
    """ChimeraX keeps the image, hidden: only the surfaces are shown, and levels can be changed."""
    for volume in pair.maps:
        volume.set_display_style("image")
        draw_frame(pair.session)
        volume.set_display_style("surface")
        draw_frame(pair.session)
    pair.flip()
    pair.flip()
    pair.blend(50)
    assert [(v.surface_shown, bool(v.image_shown)) for v in pair.maps] == 2 * [(True, False)]
    pair.after._image.display = True  # both can still be shown
    pair.enclose(900)
    assert contoured(pair) == pytest.approx([900, 900], rel=0.01)


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


@pytest.mark.parametrize("place", [0.0, 0.5, 0.8])
def test_levels_move_at_equal_volume(pair, place):
    """Both contours enclose the volume that the slider stands for."""
    from chimerax.superem.panel.compare import volume_at
    from chimerax.superem.volumes import contoured_volume, density_of

    wanted = volume_at(place, pair.enclosed_volumes()[0])
    pair.enclose(wanted)
    for volume in (pair.before, pair.after):
        level = volume.surfaces[0].level
        assert contoured_volume(density_of(volume), level) == pytest.approx(wanted, rel=0.01)


def contoured(pair):
    """Return the volume in Å³ inside the contour of each map."""
    from chimerax.superem.volumes import contoured_volume, density_of

    return np.array([contoured_volume(density_of(v), v.surfaces[0].level) for v in pair.maps])


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2])
def test_dragging_comes_near(pair, factor):
    """During dragging, each contour encloses nearly the final volume, also for thin density."""
    from chimerax.superem.core.levels import enclosed_volume

    thin = gaussian_filter(np.random.default_rng(0).normal(size=pair.after.data.array.shape), 1)
    pair.after.data.array[...] = thin / thin.std()
    pair.after.data.values_changed()
    pair.after.set_parameters(surface_levels=[1.5])
    counted = enclosed_volume(pair.after.full_matrix(), 1.5, pair.after.data.step)
    now = pair.enclosed_volumes()
    assert counted > 1.4 * now[1], "not thin enough to tell"
    wanted = factor * now[1]
    pair.preview_enclose(wanted, now)
    assert contoured(pair) == pytest.approx(wanted, rel=0.3)


def test_dragging_a_map_whose_level_is_above_its_maximum(pair):
    """A contour that encloses nothing gets the volume of the other map."""
    pair.after.set_parameters(surface_levels=[1000])
    now = pair.enclosed_volumes()
    assert now[1] == 0
    pair.preview_enclose(now[0], now)
    assert contoured(pair) == pytest.approx(now[0], rel=0.3)


@pytest.mark.parametrize("masked", ["before", "after"])
def test_a_masked_map_limits_the_volume_of_both(pair, masked):
    """Dragged or let go, no map is shown as a box: both enclose all density inside the mask, and that is what is returned."""
    volume = getattr(pair, masked)
    volume.data.array[volume.data.array < 0.25] = 0
    volume.data.values_changed()
    now = pair.enclosed_volumes()
    box = np.prod(np.multiply(np.subtract(volume.data.size, 1), volume.data.step))
    wanted = 0.8 * box
    for enclose in (lambda: pair.preview_enclose(wanted, now), lambda: pair.enclose(wanted)):
        reached = enclose()
        assert 0 < volume.surfaces[0].level < 1e-5 and max(contoured(pair)) < 0.5 * box
        assert reached[0] == pytest.approx(reached[1], rel=0.02)
    assert contoured(pair) == pytest.approx(reached, rel=1e-4)
    half = reached[0] / 2
    assert pair.enclose(half) == pytest.approx([half, half], rel=0.005)


def test_a_level_is_not_rounded_onto_a_plateau(pair):
    """Values around 1000, all the same outside a mask."""
    volume = pair.before
    volume.data.array[...] = np.where(volume.data.array < 0.25, 1000, 1000 + volume.data.array)
    volume.data.values_changed()
    volume.set_parameters(surface_levels=[1000.5])
    reached = pair.enclose(20 * pair.enclosed_volumes()[0])
    assert contoured(pair) == pytest.approx(reached, rel=1e-4) and 1000 < volume.surfaces[0].level < 1000.01


def test_level_of_a_map_that_is_shown_in_part(pair):
    """A box that shows only part of a map does not reduce its volume."""
    from chimerax.superem.volumes import contoured_volume, density_of

    wanted = pair.enclosed_volumes()[0]
    pair.before.new_region((0, 0, 0), (9, 9, 9))
    assert pair.enclosed_volumes()[0] == wanted
    pair.enclose(wanted)
    assert contoured_volume(density_of(pair.before), pair.before.surfaces[0].level) == pytest.approx(wanted, rel=0.01)


def test_level_of_a_part(pair):
    """For the result of a part, only this part of the input counts; maps that do not overlap count in full."""
    from chimerax.superem.core.density import crop
    from chimerax.superem.panel.compare import Pair
    from chimerax.superem.volumes import contoured_volume, density_of

    matrix, step = pair.before.full_matrix(), 1.2
    part = add_map(pair.session, matrix[12:30, 8:26, 10:32] ** 2, origin=(10 * step, 8 * step, 12 * step))
    part.set_parameters(surface_levels=[0.3])
    cut = Pair(pair.before, part)
    wanted = cut.enclosed_volumes()[0]
    assert wanted < 0.9 * pair.enclosed_volumes()[0]
    cut.enclose(wanted / 2)
    within = crop(density_of(pair.before), density_of(part))
    for density, volume in ((within, pair.before), (density_of(part), part)):
        assert contoured_volume(density, volume.surfaces[0].level) == pytest.approx(wanted / 2, rel=0.01)
    far = add_map(pair.session, matrix, origin=(-500, 0, 0))
    far.set_parameters(surface_levels=[0.3])
    pair.before.set_parameters(surface_levels=[0.3])
    assert Pair(pair.before, far).enclosed_volumes()[0] == pair.enclosed_volumes()[0]


@pytest.mark.parametrize("axis", [0, 2])
def test_level_of_a_part_at_the_end_of_a_long_map(session, axis):
    """It is farther along one axis of the map than the others are long."""
    from chimerax.superem.panel.compare import Pair

    whole = np.concatenate([blobs(seed=1), blobs()], axis=axis)
    start = whole.shape[axis] // 2
    part = np.split(whole, 2, axis=axis)[1].copy()
    maps = add_map(session, whole), add_map(session, part, origin=[start * 1.2 if 2 - axis == xyz else 0 for xyz in range(3)])
    for volume in maps:
        volume.set_parameters(surface_levels=[0.3])
    before, after = Pair(*maps).enclosed_volumes()
    assert before == pytest.approx(after, rel=1e-3)


def test_levels_of_a_large_map(pair, monkeypatch):
    """Only some voxels of a large map are contoured, with nearly the same volume."""
    from chimerax.superem.panel import compare

    whole = pair.enclosed_volumes()[0]
    monkeypatch.setattr(compare, "CONTOURED", pair.before.full_matrix().size / 8)
    assert pair._densities()[0].shape == (20, 18, 22)
    assert pair.enclosed_volumes()[0] == pytest.approx(whole, rel=0.05)


def test_middle_of_the_level_slider_changes_nothing(pair):
    """The middle of the slider is the present volume; further right, the volume is smaller."""
    from chimerax.superem.panel.compare import volume_at

    assert volume_at(0.5, 100.0) == 100.0
    assert volume_at(1.0, 100.0) < 100.0 < volume_at(0.0, 100.0)
    level = pair.before.surfaces[0].level
    pair.enclose(pair.enclosed_volumes()[0])
    assert pair.before.surfaces[0].level == pytest.approx(level, rel=0.01)


def test_side_by_side_is_tile(pair, monkeypatch):
    """Moving the maps side by side and back uses ChimeraX's own `tile`."""
    commands = []
    monkeypatch.setattr("chimerax.superem.panel.compare.run", lambda _session, command: commands.append(command))
    view = pair.session.main_view
    view.center_of_rotation_method = "front center"
    pair.side_by_side().end()
    before = f"#{pair.before.id_string}"
    spec = f"{before},{pair.after.id_string}"
    assert f"tile {spec} columns 2" in commands[1] and commands[1].endswith(f"independentRotation false; cofr {before}")
    assert commands[2] == f"tile off {spec}; cofr frontCenter"
    view.center_of_rotation = (1, 2, 3.5)
    apart = pair.side_by_side()
    pair.session.models.close([pair.after])
    apart.end()
    assert commands[-1] == "cofr 1,2,3.5"
    view.center_of_rotation_method = "front center"


def test_only_one_map_moves_when_both_are_turned_side_by_side(pair):
    """It keeps its place on the screen and turns like the other map, which stays aligned with all other models."""
    from chimerax.geometry import rotation, translation
    from chimerax.superem.panel.compare import SideBySide

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
    from chimerax.superem.panel.compare import SideBySide

    monkeypatch.setattr("chimerax.superem.panel.compare.run", lambda *_: None)
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


def test_images_have_no_contour(pair):
    """A map shown as an image has no enclosed volume."""
    pair.before.set_display_style("image")
    assert pair.enclosed_volumes() is None
