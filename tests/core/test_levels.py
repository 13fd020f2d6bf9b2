"""Tests that contour levels and the volumes that they enclose are inverse to each other."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from superem.core.levels import agree, enclosed_volume, enclosing, level_for_surface, level_for_volume, surface_volume


@given(seed=st.integers(0, 99), count=st.integers(1, 210), step=st.tuples(*[st.floats(0.5, 3)] * 3))
def test_level_encloses_the_volume_asked_for(seed, count, step):
    array = np.random.default_rng(seed).normal(size=(5, 6, 7)).astype(np.float32)
    volume = count * np.prod(step)
    level = level_for_volume(array, volume, step)
    assert enclosed_volume(array, level, step) == pytest.approx(volume)


def test_the_ends_of_the_range():
    array = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert enclosed_volume(array, level_for_volume(array, 0, (1, 1, 1)), (1, 1, 1)) == 0
    assert level_for_volume(array, 1000, (1, 1, 1)) == 0
    assert level_for_volume(array, 3 * 1.5, (1, 1, 1.5)) == 5


def surface_of(array, step):
    return lambda level: surface_volume(array, level, step)


@pytest.mark.parametrize("radius", [4, 8])
def test_volume_of_a_sphere(make_blob, radius):
    step = (0.9, 1.1, 1.0)
    blob = make_blob((20, 19, 24), (0, 0, 0), step, (10.3, 9.8, 9.6), sigma=4)
    level = np.exp(-(radius**2) / 32)
    assert surface_volume(blob.array, level, step) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)


def test_surface_is_closed_at_the_faces_of_the_box():
    """For a slab in a box of 5 x 4 x 9 voxels, interpolation adds half a cell, but nothing beyond the outermost voxels."""
    slab = np.zeros((9, 4, 5), np.float32)
    slab[3:6] = 1
    assert surface_volume(slab, 0.5, (2, 1, 1)) == (4 * 2) * 3 * (2 + 2 * 0.5)
    assert surface_volume(slab, 1.5, (2, 1, 1)) == 0
    assert surface_volume(slab, -1, (2, 1, 1)) == (4 * 2) * 3 * 8


@given(seed=st.integers(0, 99), share=st.floats(0.01, 0.5))
def test_level_for_the_volume_of_a_surface(seed, share):
    array = gaussian_filter(np.random.default_rng(seed).normal(size=(24, 20, 22)), 1.2).astype(np.float32)
    step = (1, 1.5, 0.8)
    wanted = surface_volume(array, np.quantile(array, 1 - share), step)
    level, found = level_for_surface(array, wanted, step, surface_of(array, step))
    assert found == surface_volume(array, level, step) == pytest.approx(wanted, rel=0.002)


def test_no_volume_is_above_the_maximum():
    array = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    level, found = level_for_surface(array, 0, (1, 1, 1), surface_of(array, (1, 1, 1)))
    assert level > 26 and found == 0


@pytest.fixture(params=[0, 1000])
def padded(request):
    """Smooth noise in the middle of a larger box, which elsewhere has one density exactly."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(24, 20, 22)), 1.2)
    return (np.pad(noise / noise.std(), 10) + request.param).astype(np.float32), request.param


@pytest.mark.parametrize(("height", "start"), [
    *itertools.product((1, 0.2, 0.03, -0.03, -0.2, -1), (None, 0.5, 0, -1)), (-0.03, 2), (-0.2, 2)])
def test_levels_on_both_sides_of_a_plateau(padded, height, start):
    array, plateau = padded
    wanted = surface_volume(array, plateau + height, (1, 1, 1))
    start = None if start is None else plateau + start
    level, found = level_for_surface(array, wanted, (1, 1, 1), surface_of(array, (1, 1, 1)), start)
    assert found == surface_volume(array, level, (1, 1, 1)) == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("start", [None, 0, 0.5])
def test_a_plateau_is_enclosed_as_a_whole_or_not_at_all(padded, start):
    """It is left out, unless that is nearly the volume wanted; the volume found is that of the level."""
    array, plateau = padded
    measure, step = surface_of(array, (1, 1, 1)), (1, 1, 1)
    start = None if start is None else plateau + start
    without, whole = measure(plateau + 1e-4), measure(plateau)
    assert whole > 3 * without, "not enough of a plateau to tell"
    for wanted in (1.1 * without, 2 * without, 0.9 * whole):
        level, found = level_for_surface(array, wanted, step, measure, start)
        assert level > plateau and found == measure(level) == pytest.approx(without, rel=1e-3)
    for wanted in (0.99 * whole, whole):
        assert level_for_surface(array, wanted, step, measure, start) == (plateau, whole)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_levels_of_a_map_of_whole_numbers(share):
    """Many voxels share each density; the level lies between two of them."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(24, 20, 22)), 1.2)
    array = np.maximum(np.round(noise / noise.std()), 0).astype(np.float32)
    wanted = share * array.size
    level, found = level_for_surface(array, wanted, (1, 1, 1), surface_of(array, (1, 1, 1)))
    assert found == surface_volume(array, level, (1, 1, 1)) == pytest.approx(wanted, rel=0.02)


def test_words_name_one_volume_or_both():
    assert agree(1000, 1019) and not agree(1000, 1030) and not agree(1030, 1000)
    assert enclosing(1000, 1001, "about ") == "both enclose about 1,000 Å³"
    assert enclosing(1000, 970299) == "they enclose 1,000 and 970,299 Å³"
