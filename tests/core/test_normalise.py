"""Tests that normalisation finds the molecule's scale, whatever surrounds it, and can be inverted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from superem.core.density import MapError
from superem.core.normalise import NORMALISATIONS, minmax, robust


def molecule(n=48, noise=0.0, level=0.0, scale=1.0, seed=0):
    """Return a ball of uneven density in a box of n³ voxels."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((n, n, n)) - (n - 1) / 2
    inside = z * z + y * y + x * x < 10**2
    density = np.where(inside, 1 + 0.3 * np.sin(z) * np.cos(y) * np.sin(x), 0)
    return (scale * (density + noise * rng.standard_normal(density.shape)) + level).astype(np.float32)


def test_the_molecule_comes_out_near_one_and_solvent_at_zero():
    """The maps are clean, noisy, with an offset, and in other units."""
    for array in (molecule(), molecule(noise=0.1), molecule(noise=0.1, level=5), molecule(scale=1e-4)):
        x = robust(array).apply(array)
        assert abs(np.median(x)) < 0.05
        assert 0.6 < np.median(x[24, 20:28, 20:28]) < 1.1


def test_the_box_does_not_change_the_scale():
    """With nine times the solvent, the scale is nearly the same."""
    small, large = robust(molecule(32, noise=0.05)), robust(molecule(64, noise=0.05))
    assert small.high == pytest.approx(large.high, rel=0.05)


def test_a_hot_voxel_does_not_change_the_scale_and_is_held_down():
    """It ruins the paper's min-max scale, but not the robust one, and the network never sees a huge value."""
    array = molecule()
    hot = array.copy()
    hot[24, 24, 24] = 1000
    assert robust(hot).high == pytest.approx(robust(array).high, rel=0.01)
    assert robust(hot).apply(hot).max() < 12
    assert minmax(hot).high == 1000


@given(scale=st.floats(1e-6, 1e6), level=st.floats(-10, 10), hot=st.floats(1, 1e4))
def test_robust_is_undone_by_restore(scale, level, hot):
    """All voxels are restored, hot ones too."""
    array = molecule(16, noise=0.2)
    array[3, 4, 5] *= hot
    array = ((array + level) * scale).astype(np.float32)
    if array.max() <= 0:
        return
    s = robust(array)
    np.testing.assert_allclose(s.restore(s.apply(array)), array, rtol=2e-4, atol=2e-5 * np.abs(array).max())


def test_minmax_cuts_negatives_and_fills_zero_to_one():
    """It is the paper's normalisation."""
    array = molecule(noise=0.1)
    x = minmax(array).apply(array)
    assert x.min() == 0 and x.max() == 1
    positive = array > 0
    np.testing.assert_allclose(minmax(array).restore(x)[positive], array[positive], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(NORMALISATIONS))
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_density_that_says_nothing_is_refused(name, value):
    """The maps are constant: zero, positive or negative."""
    with pytest.raises(MapError, match="nothing to enhance"):
        NORMALISATIONS[name](np.full((8, 8, 8), value, np.float32))


def test_a_mask_that_fills_most_of_the_box_is_not_divided_by_nothing():
    """The most frequent density, which is the solvent level in other maps, is the highest here."""
    array = np.ones((12, 12, 12), np.float32)
    array[:3] = np.linspace(-1, 0.9, 12)
    scale = robust(array)
    assert (scale.low, scale.high) == (-1, 1)
    assert scale.restore(scale.apply(array)) == pytest.approx(array, abs=1e-6)


def test_a_few_spikes_are_no_molecule():
    """Fewer than eight voxels above the noise do not set the scale; the noise itself does."""
    array = np.random.default_rng(0).normal(size=(20, 20, 20)).clip(-2, 2).astype(np.float32)
    alone = robust(array).high
    array[5, 5, 5:10] = 1000
    assert robust(array).high == pytest.approx(alone, rel=0.05)
    array[5, 5, 5:15] = 1000
    assert robust(array).high == 1000
