"""Tests that resampling keeps density at its place."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from superem.core.density import DensityMap
from superem.core.resample import grid_shape_origin, resample, resample_onto

steps = st.tuples(*[st.floats(0.5, 2.0)] * 3)
origins = st.tuples(*[st.floats(-50, 50)] * 3)
angles = st.tuples(*[st.floats(-180, 180)] * 3)


def blob_around(make_blob, centre, step, rotation, extra):
    """Make a map whose box reaches 5 standard deviations, or slightly more, beyond a blob at `centre`."""
    half = np.ceil(12.5 / np.array(step)) + extra
    shape = (2 * half[::-1] + 1).astype(int)
    origin = centre - rotation @ (half * step) + 0.3
    return make_blob(shape, origin, step, centre, rotation=rotation)


@settings(max_examples=40, deadline=None)
@given(centre=origins, step=steps, turn=angles, extra=st.tuples(*[st.integers(0, 3)] * 3))
def test_blob_stays_where_it_is(make_blob, centre_of_mass, centre, step, turn, extra):
    """The blob's centre stays within 0.02 Å and its shape is kept, there and back, for any voxels, origin, rotation and box."""
    rotation = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    density = blob_around(make_blob, centre, step, rotation, extra)
    fine = resample(density)
    assert np.abs(centre_of_mass(fine) - centre).max() < 0.02
    truth = make_blob(fine.shape, fine.origin, fine.step, centre, rotation=rotation)
    assert np.abs(fine.array - truth.array).max() < 0.03
    back = resample_onto(fine, density)
    assert np.abs(back.array - density.array).max() < 0.02


def test_a_turned_grid_is_refused(make_blob):
    """Only grids with the same axes are resampled; another one would be misplaced."""
    density = make_blob((9, 9, 9), (0, 0, 0), (1, 1, 1), (4, 4, 4))
    turned = DensityMap(density.array, rotation=Rotation.from_euler("z", 1, degrees=True).as_matrix())
    with pytest.raises(ValueError, match="different directions"):
        resample_onto(density, turned)


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(*[st.integers(2, 12)] * 3), step=steps, origin=origins, new=st.sampled_from([1.0, 0.7, 1.7]))
def test_the_new_grid_covers_the_old_one_at_whole_steps(shape, step, origin, new):
    assume(any(abs(s / new - 1) >= 1e-3 for s in step))  # otherwise it is not resampled
    density = DensityMap(np.ones(shape), origin, step)
    fine = resample(density, new)
    assert (fine.shape, fine.origin) == grid_shape_origin(density, new) and fine.step == (new, new, new)
    for corner in ((0, 0, 0), np.array(shape[::-1]) - 1):
        index = fine.indices(density.positions(corner))
        assert np.all(index > -1e-3) and np.all(index < np.array(fine.shape[::-1]) - 1 + 1e-3)
    assert np.abs(np.rint(np.divide(fine.origin, new)) - np.divide(fine.origin, new)).max() < 1e-6
    assert np.abs(fine.array - 1).max() < 1e-5  # flat density stays flat, to the border


@pytest.mark.parametrize("step", [1.0, 1.0005, 0.9995])
def test_a_map_of_the_wanted_step_is_returned_unchanged(step):
    array = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    density = DensityMap(array, (0.37, 2, 3), (step,) * 3)
    assert resample(density) is density
    assert grid_shape_origin(density) == (density.shape, density.origin)


def test_a_map_of_another_wanted_step_is_returned_unchanged():
    for step, wanted in ((1.3, 1.3), (2.0, 0.5)):
        density = DensityMap(np.ones((5, 6, 7)), step=(step,) * 3)
        assert (resample(density, wanted) is density) == (step == wanted)


@pytest.mark.parametrize("step", [1.002, 0.998])
def test_no_drift_over_a_long_box(make_blob, step):
    """Over 400 voxels, taking 1.002 or 0.998 Å for 1 Å would give a shift of 0.8 Å."""
    centre = np.array([395.0, 8, 8])
    density = make_blob((17, 17, 410), (0, 0, 0), (step, 1, 1), centre)
    fine = resample(density)
    k, j, i = np.unravel_index(fine.array.argmax(), fine.shape)
    assert np.abs(fine.positions((i, j, k)) - centre).max() < 1e-6


def test_crops_of_one_map_come_out_on_the_same_points():
    array = np.random.default_rng(2).normal(size=(40, 40, 40))
    whole = DensityMap(array, (3.3, 0, 0), (1.3, 1.3, 1.3))
    crop = DensityMap(array[10:, 10:, 10:], whole.positions([10, 10, 10]), whole.step)
    a, b = resample(whole), resample(crop)
    i, j, k = np.rint(a.indices(b.origin)).astype(int)
    inner = (slice(14, -1),) * 3  # the crop's border has different neighbours
    assert np.allclose(a.array[k:, j:, i:][inner], b.array[inner], atol=1e-5)


def test_voxels_on_points_of_the_new_grid_keep_their_values():
    """With voxels of 1.5 Å, every second one lies on every third point of the 1 Å grid, the outermost ones included."""
    array = np.random.default_rng(3).normal(size=(13, 11, 9)).astype(np.float32)
    fine = resample(DensityMap(array, step=(1.5, 1.5, 1.5)))
    assert fine.shape == (19, 16, 13)
    assert np.allclose(fine.array[::3, ::3, ::3], array[::2, ::2, ::2], atol=1e-5)


@pytest.mark.parametrize("voxel, resolution, least", [(1.3, 3.0, 0.92), (1.3, 4.0, 0.99), (1.5, 3.5, 0.95)])
def test_amplitudes_survive(voxel, resolution, least):
    """For example, a 3 Å wave on 1.3 Å voxels keeps its amplitude (a cubic spline would leave 0.74)."""
    x = voxel * np.arange(120)
    wave = DensityMap(np.broadcast_to(np.cos(2 * np.pi * x / resolution), (2, 2, 120)), step=(voxel, 1, 1))
    fine = resample(wave).array[0, 0, 20:-20]
    t = 20 + np.arange(len(fine))
    amplitude = 2 * abs(np.mean(fine * np.exp(-2j * np.pi * t / resolution)))
    assert least < amplitude < 1.03


def test_detail_that_the_new_grid_cannot_hold_is_removed():
    """Without a filter, a 1.5 Å wave sampled at 0.5 Å would appear as a false 3 Å wave on a 1 Å grid."""
    x = 0.5 * np.arange(200)
    wave = DensityMap(np.broadcast_to(np.cos(2 * np.pi * x / 1.5), (2, 2, 200)), step=(0.5, 1, 1))
    assert np.abs(resample(wave).array[0, 0, 20:-20]).max() < 0.02


def test_an_empty_border_stays_empty():
    """A masked map does not ring beyond the reach of the interpolation window."""
    array = np.zeros((60, 8, 8))
    array[25:35] = 1
    fine = resample(DensityMap(array, step=(1, 1, 1.3))).array[:, 4, 4]
    assert np.abs(fine[:20]).max() == 0 and np.abs(fine[-20:]).max() == 0
    assert -0.15 < fine.min() and fine.max() < 1.15


def test_outside_of_the_map_there_is_nothing():
    density = DensityMap(np.ones((5, 5, 5)))
    far = resample_onto(density, DensityMap(np.ones((3, 3, 20)), (0, 1, 1), (1, 1, 1)))
    assert far.shape == (3, 3, 20)
    assert np.allclose(far.array[..., :5], 1) and np.all(far.array[..., 7:] == 0)
