"""Tests of the geometry of maps, and of the refusal of unusable maps."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from superem.core import density
from superem.core.density import DensityMap, MapError, check, crop, sampled


def noise(shape=(4, 5, 6)):
    return np.random.default_rng(0).normal(size=shape)


def test_positions_follow_the_convention_of_chimerax_and_are_inverted():
    """Positions are rotation @ (step * ijk) + origin, in xyz."""
    rotation = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    density = DensityMap(noise(), (1, 2, 3), (1, 2, 4), rotation)
    assert np.allclose(density.positions([1, 0, 0]), [1, 3, 3])  # the grid's x axis points along y
    assert np.allclose(density.positions([0, 1, 0]), [-1, 2, 3])
    assert np.allclose(density.indices(density.positions([3, 1.5, -2])), [3, 1.5, -2])
    assert density.array.dtype == np.float32 and density.voxel_volume == 8


@pytest.mark.parametrize("array, words", [
    (noise((4, 5)), "2 dimensions"),
    (noise((2, 3, 4, 5)), "4 dimensions"),
    (noise() * 1j, "complex"),
])
def test_arrays_that_are_no_map(array, words):
    with pytest.raises(MapError, match=words):
        DensityMap(array)


@pytest.mark.parametrize("step", [(0, 1, 1), (1, -1, 1), (1, 1, 1e-4), (1, 1, 50), (np.nan, 1, 1)])
def test_absurd_voxel_sizes(step):
    with pytest.raises(MapError, match="voxel size"):
        DensityMap(noise(), step=step)


def test_origin_that_is_not_a_number():
    with pytest.raises(MapError, match="origin"):
        DensityMap(noise(), origin=(0, np.inf, 0))


def with_values(*values):
    array = noise()
    array.flat[: len(values)] = values
    return array


@pytest.mark.parametrize("array, words", [
    (with_values(np.nan), "in 1 of 120 voxels"),
    (with_values(np.inf, np.nan, -np.inf), "in 3 of 120 voxels"),
    (np.full((4, 4, 4), 0.5), "same density"),
    (-np.abs(noise()) - 1, "no positive density"),
    (noise((1, 20, 20)), "single plane"),
])
def test_density_that_nothing_can_be_made_of(array, words):
    with pytest.raises(MapError, match=words):
        check(DensityMap(array, name="emd_1.map"))


def test_usual_density_passes():
    check(DensityMap(noise()))


def test_a_sample_is_of_all_planes(monkeypatch):
    """A large map is sampled in all planes, although every 8th voxel would lie in only a few; a small map is returned whole."""
    planes = np.broadcast_to(np.arange(20), (20, 20, 20))
    assert sampled(planes).size == 8000
    monkeypatch.setattr(density, "SAMPLE", 1000)
    assert 800 < sampled(planes).size <= 1000 and set(sampled(planes)) == set(range(20))


@pytest.mark.parametrize("rotation", [np.eye(3), np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])])
def test_crop_covers_the_part(rotation):
    """If the part's corners lie between grid points, the next points outside are kept; if on grid points, exactly these."""
    whole = DensityMap(np.arange(20 * 21 * 22).reshape(20, 21, 22), (5, -3, 2), (1, 1, 1), rotation)
    for first, last, wanted in (((4.2, 3.0, 5.9), (9.8, 8.0, 12.0), ((4, 3, 5), (10, 8, 12))),
                                ((-1.0, 0.0, 0.0), (30.0, 20.0, 19.0), ((0, 0, 0), (21, 20, 19)))):
        step = np.subtract(last, first) / (3, 4, 5)
        part = DensityMap(np.zeros((6, 5, 4)), tuple(whole.positions(first)), tuple(step), rotation)
        cut = crop(whole, part)
        (i, j, k), (i2, j2, k2) = wanted
        assert np.array_equal(cut.array, whole.array[k : k2 + 1, j : j2 + 1, i : i2 + 1])
        assert cut.origin == pytest.approx(tuple(whole.positions((i, j, k))))
