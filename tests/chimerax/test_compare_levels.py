"""Tests of the contour levels of two maps that are compared: both enclose the same volume."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chimerax_library import draw_frame
from made_maps import add_map, blobs


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


def test_images_have_no_contour(pair):
    """A map shown as an image has no enclosed volume."""
    pair.before.set_display_style("image")
    assert pair.enclosed_volumes() is None
