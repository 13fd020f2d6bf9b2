"""Tests of how ChimeraX shows the command's result: contour levels, style and colours."""

import re

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import RESULT, add_map, blobs


def surface_volume(volume):
    """Return the volume in Å³ inside the surface that ChimeraX shows."""
    from chimerax.surface import surface_volume_and_area

    volume.display = True
    volume.update_drawings()
    return surface_volume_and_area(volume.surfaces[0])[0]


def test_level_encloses_the_same_volume(run, session, volume, weights):
    """At any level, the contours of result and input enclose the same volume within 0.5 %."""
    for level in (0.3, 0.6, 1.2):
        volume.set_parameters(surface_levels=[level])
        result = run(f"superem #1 model {weights}")
        assert surface_volume(result) == pytest.approx(surface_volume(volume), rel=5e-3)
        assert result.surfaces[0].rgba[:3] != volume.surfaces[0].rgba[:3]
        session.models.close([result])


@pytest.mark.parametrize("number", [0, 1])
def test_colour_differs_from_that_of_the_input(run, session, volume, weights, number):
    """Also from one of the two colours that results have."""
    from chimerax.superem.volumes import COLORS

    volume.set_parameters(surface_colors=[COLORS[number]])
    result = run(f"superem #1 model {weights}")
    assert result.surfaces[0].rgba == pytest.approx(COLORS[1 - number], abs=0.01)


def test_level_of_a_hidden_map_that_was_never_drawn(run, session, weights):
    """A map without surfaces is matched at the level at which ChimeraX would show it."""
    volume = add_map(session)
    volume.remove_surfaces()
    volume.display = False
    level = volume.initial_surface_levels()[0][0]
    result = run(f"superem #1 model {weights}")
    volume.set_parameters(surface_levels=[level])
    assert surface_volume(result) == pytest.approx(surface_volume(volume), rel=5e-3)


def test_every_level_is_matched(run, session, volume, weights):
    """A map with two contours gives a map with two contours."""
    volume.set_parameters(surface_levels=[0.4, 1.0])
    result = run(f"superem #1 model {weights}")
    assert [s.level for s in result.surfaces] == pytest.approx([0.4, 1.0], rel=0.1)


@pytest.mark.parametrize("grid", ["1A", "input"])
def test_image_style(run, session, volume, weights, grid):
    """A map shown as an image gives a result shown as an image, with thresholds of the same ranks."""
    volume.set_display_style("image")
    volume.set_parameters(image_levels=[(0.2, 0), (0.6, 0.8), (1.5, 1)])
    result = run(f"superem #1 model {weights} grid {grid}")
    assert result.showing_image() and not result.surface_shown
    for (old, weight), (new, new_weight) in zip(volume.image_levels, result.image_levels, strict=True):
        assert weight == new_weight
        share = [float((v.full_matrix() >= t).mean()) for v, t in ((volume, old), (result, new))]
        assert share[1] == pytest.approx(share[0], rel=0.02)


@pytest.mark.parametrize("style", ["mesh", "surface", "image"])
def test_style(run, session, volume, weights, style):
    """The result has the style of its source, whether that was drawn before or not."""
    if style != "surface":  # a map that was just opened is a surface
        volume.set_display_style(style)
        draw_frame(session)
    result = run(f"superem #1 model {weights}")
    assert bool(result.showing_image()) == (style == "image") and result.surface_shown == (style != "image")
    assert result.has_mesh == (style == "mesh")


def test_level_above_all_density(run, session, volume, weights):
    """Neither map shows anything, and the log says why."""
    volume.set_parameters(surface_levels=[99])
    run(f"superem #1 model {weights}")
    assert "above all density" in session.log.text("note") and "enclose" not in session.log.text("note")


def test_volumes_that_differ(run, session, volume, weights, monkeypatch):
    """If a result has too little density to enclose as much as the input, the log gives both volumes."""
    from chimerax.superem import prediction

    predict = prediction.predict

    def masked(*arguments):
        enhanced = predict(*arguments)
        array = enhanced.density.array
        array[array < 0.5] = 0
        return enhanced

    monkeypatch.setattr(prediction, "predict", masked)
    volume.set_parameters(surface_levels=[0.3])
    result = run(f"superem #1 model {weights}")
    volumes = surface_volume(volume), surface_volume(result)
    assert volumes[0] > 1.1 * volumes[1]
    said = re.search("they enclose ([0-9,]+) and ([0-9,]+) Å³", session.log.text("note"))
    assert [float(text.replace(",", "")) for text in said.groups()] == pytest.approx(volumes, rel=5e-3)


@pytest.mark.parametrize("options", ["", "grid input", "subregion 3,2,1,24,26,30"])
def test_reliability(run, session, volume, weights, options):
    """A second, hidden map of the expected Q-score, one voxel wider on all sides, colours the result, also at a new level."""
    from chimerax.map import Volume

    result = run(f"superem #1 model {weights} reliability true {options}")
    expected = next(m for m in session.models.list(type=Volume) if m.name == f"{result.name} expected Q")
    assert not expected.display and result.display
    assert np.array_equal(expected.data.size, np.add(result.data.size, 2))
    assert np.allclose(expected.scene_position.matrix, result.scene_position.matrix)
    assert np.allclose(expected.data.ijk_to_xyz((1, 1, 1)), result.data.origin)
    assert np.allclose(expected.data.step, result.data.step)
    q = expected.full_matrix()
    assert q.min() > -1e-3 and 0.1 < q.max() < 0.6
    surface = result.surfaces[0]
    assert len(np.unique(surface.vertex_colors, axis=0)) > 3
    result.set_parameters(surface_levels=[1.3 * surface.level])
    result.update_drawings()
    assert len(surface.vertex_colors) == len(surface.vertices)
    assert f"{expected.name} #{expected.id_string}: the Q-score to expect" in session.log.text("note")


@pytest.mark.parametrize("options", ["", "subregion 8,8,8,28,28,28"])
def test_reliability_where_density_is_cut(run, session, weights, options):
    """Where the box cuts through density, its faces have colours of expected Q, not the grey of missing values."""
    from chimerax.core.colors import Colormap

    add_map(session, blobs()[10:30, 8:28, 12:36] if not options else None)
    result = run(f"superem #1 model {weights} reliability true {options}")
    surface, data = result.surfaces[0], result.data
    ijk = data.xyz_to_ijk(surface.vertices)
    faces = np.isclose(ijk, 0, atol=1e-3) | np.isclose(ijk, np.subtract(data.size, 1), atol=1e-3)
    assert faces.any(axis=1).sum() > 20, "no density is cut"
    nowhere = (255 * np.array(Colormap([0], [(1, 0, 0, 1)]).color_no_value)).astype(int)
    assert not (surface.vertex_colors == nowhere).all(axis=1).any()


def test_reliability_follows_the_result(recolouring, run, session, volume, weights):
    """A result that has been moved keeps its colours at the next level."""
    from chimerax.geometry import translation

    result = run(f"superem #1 model {weights} reliability true")
    level = result.surfaces[0].level

    def colours_at(new_level):
        result.set_parameters(surface_levels=[new_level])
        draw_frame(session)
        return result.surfaces[0].vertex_colors

    before = colours_at(1.2 * level).copy()
    result.position = translation((15, 4, -9)) * result.position
    colours_at(level)
    assert np.array_equal(colours_at(1.2 * level), before)
    for change in ("originIndex 15,0,0", "voxelSize 0.9"):
        run(f"volume #2 {change}")
        colours_at(level)
        assert np.array_equal(colours_at(1.2 * level), before), change


@pytest.mark.parametrize("grid", ["1A", "input"])
def test_reliability_does_not_follow_the_input(recolouring, run, session, volume, weights, grid):
    """An input that is coloured by the same map, as the help says, can be moved: the result is coloured as before."""
    result = run(f"superem #1 model {weights} reliability true hideMaps false grid {grid}")
    run("color sample #1 map #3 palette 0,red:1,blue")
    level, colours = result.surfaces[0].level, result.surfaces[0].vertex_colors.copy()
    run("move 15,0,0 models #1")
    for each in (1.2 * level, level):
        result.set_parameters(surface_levels=[each])
        draw_frame(session)
    assert np.array_equal(result.surfaces[0].vertex_colors, colours)


@pytest.mark.parametrize(("options", "hidden"), [
    ("reliability true", True), ("reliability true hideMaps false", False), ("", False), ("hideMaps true", True)])
def test_colours_are_not_covered(run, session, volume, weights, options, hidden):
    """The input is hidden if it would cover a coloured result, unless `hideMaps` is given; the log says so."""
    run(f"superem #1 model {weights} {options}")
    assert volume.display != hidden
    assert ("blobs #1 is hidden, since it would cover" in session.log.text("note")) == (options == "reliability true")


def test_reliability_of_an_image_has_no_surface_to_colour(run, session, volume, weights):
    volume.set_display_style("image")
    draw_frame(session)
    run(f"superem #1 model {weights} reliability true")
    assert volume.display and "is colored" not in session.log.text("note")
    assert any(m.name == f"{RESULT} expected Q" for m in session.models.list())


def test_key_to_the_colours(window, volume, weights, monkeypatch):
    """With a window, a colour key explains the colours."""
    from chimerax.core import commands

    keys, run = [], commands.run

    def run_but_key(session, command, **options):  # the library lacks `key`
        return keys.append(command) if command.startswith("key ") else run(session, command, **options)

    monkeypatch.setattr(commands, "run", run_but_key)
    run(window, f"superem #1 model {weights} reliability true block true")
    assert keys == ["key #d73027:Q=0.1 #fdae61:0.3 #ffffbf:0.5 #4575b4:0.7 fontSize 18"]
