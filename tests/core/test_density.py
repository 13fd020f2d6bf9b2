"""Geometry of maps, and the refusal of maps that nothing can be made of."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from superem.core.density import DensityMap, MapError, check


def noise(shape=(4, 5, 6)):
    return np.random.default_rng(0).normal(size=shape)


def test_positions_follow_the_convention_of_chimerax_and_are_inverted():
    """Position = rotation @ (step * ijk) + origin, in xyz."""
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
    (with_values(np.nan), "1 voxel that"),
    (with_values(np.inf, np.nan, -np.inf), "3 voxels that"),
    (np.full((4, 4, 4), 0.5), "same density"),
    (-np.abs(noise()) - 1, "no positive density"),
    (noise((1, 20, 20)), "single plane"),
])
def test_density_that_nothing_can_be_made_of(array, words):
    with pytest.raises(MapError, match=words):
        check(DensityMap(array, name="emd_1.map"))


def test_usual_density_passes():
    check(DensityMap(noise()))
