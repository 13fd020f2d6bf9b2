"""Simulated pairs obey the physics that their stated resolution promises."""

import numpy as np
import pytest

from training import simulate
from training.density import SIGMA_PER_RESOLUTION, gaussian_density, hr_resolution


def shell_correlation(a, b):
    """FSC of two cubes by shell, frequency 0 first."""
    n = a.shape[0]
    f, g = np.fft.rfftn(a), np.fft.rfftn(b)
    shell = np.rint(np.sqrt(simulate.frequencies(n)[0]) * n).astype(int).ravel()
    cross = np.bincount(shell, (f * g.conj()).real.ravel())
    return cross / np.sqrt(np.bincount(shell, np.abs(f).ravel() ** 2) * np.bincount(shell, np.abs(g).ravel() ** 2))


def test_gaussian_density_is_a_gaussian_at_the_right_place():
    """Peak, integral and centre of one atom, on an anisotropic grid with an origin."""
    step, origin = (0.7, 1.0, 0.9), (-9.0, 4.0, 2.0)
    grid = gaussian_density(np.array([[-1.3, 14.4, 11.7]]), np.array([6.0]), (24, 22, 26), 1.2, origin, step)
    cell = np.prod(step)
    assert grid.sum() * cell == pytest.approx(6, rel=1e-3)
    k, j, i = (float((grid * index).sum() / grid.sum()) for index in np.indices(grid.shape))
    found = np.array([i, j, k]) * step + origin
    np.testing.assert_allclose(found, [-1.3, 14.4, 11.7], atol=1e-3)
    assert grid.max() <= 6 / (2 * np.pi * 1.2**2) ** 1.5


def test_atoms_outside_the_grid_add_only_what_reaches_in():
    """An atom just outside leaves its tail, one far away nothing."""
    grid = gaussian_density(np.array([[-1.0, 4, 4], [90, 4, 4]]), np.ones(2), (8, 8, 8), 1.0)
    assert grid[4, 4, 0] == pytest.approx(np.exp(-0.5) / (2 * np.pi) ** 1.5, rel=1e-5)
    assert grid[..., -1].max() == 0


def test_the_paper_pairs_coarse_maps_with_coarse_targets():
    """1.8 Å up to a resolution of 3.5 Å, else 3.0 Å; and the blur between both is the one that the loss uses."""
    from training.losses import BLUR

    assert (hr_resolution(3.5), hr_resolution(3.6)) == (1.8, 3.0)
    blur = SIGMA_PER_RESOLUTION * np.sqrt(3.0**2 - 1.8**2)
    assert pytest.approx(blur, abs=0.02) == BLUR


def test_a_seed_gives_the_same_pair_again(atoms):
    """So that a run can be repeated."""
    one, two = (simulate.simulate(np.random.default_rng(3), atoms) for _ in range(2))
    np.testing.assert_array_equal(one.lr, two.lr)
    np.testing.assert_array_equal(one.hr, two.hr)
    assert not np.array_equal(simulate.simulate(np.random.default_rng(4), atoms).lr, one.lr)


def test_the_fsc_with_the_model_is_a_half_near_the_stated_resolution(atoms):
    """Over many draws: high at twice the resolution length, 0.15 to 0.6 at it as in deposited train maps, low beyond it."""
    at = {0.5: [], 1.0: [], 1.5: []}
    for seed in range(12):
        pair = simulate.simulate(np.random.default_rng(seed), atoms)
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        near = np.where(hr > 0, 1, 0)
        curve = shell_correlation(lr * near, hr)
        for factor, values in at.items():
            values.append(curve[min(round(factor * len(lr) / pair.resolution), len(lr) // 2)])
    medians = {factor: np.median(values) for factor, values in at.items()}
    assert medians[0.5] > 0.75
    assert 0.15 < medians[1.0] < 0.6
    assert medians[1.5] < medians[1.0] - 0.1


def test_hr_lies_where_lr_does(atoms):
    """No shift between the two sides of pairs: cross-correlations peak within a voxel of zero, and at zero as a rule."""
    peaks = []
    for seed in range(9):
        pair = simulate.simulate(np.random.default_rng(seed), atoms)
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        cross = np.fft.fftshift(np.fft.irfftn(np.fft.rfftn(lr) * np.fft.rfftn(hr).conj(), s=lr.shape))
        peaks.append(np.array(np.unravel_index(np.argmax(cross), cross.shape)) - len(lr) // 2)
    assert np.abs(peaks).max() <= 1
    np.testing.assert_array_equal(np.median(peaks, axis=0), 0)


def test_real_pairs_lie_on_each_other_in_every_orientation(atoms):
    """A map drawn in a random orientation still lies on its model, turned likewise."""
    from scipy import ndimage
    from superem.core.density import DensityMap

    from training import pairs

    step, origin = (1.3, 1.3, 1.3), (-30.0, -28.0, -31.0)
    array = gaussian_density(atoms.coordinates, atoms.weights, (46, 46, 46), 1.1, origin, step)
    density = DensityMap(array, origin, step)
    real = pairs.RealMap(density, ndimage.spline_filter(array, output=np.float32), atoms, 3.0, "test")
    for seed in range(3):
        pair = pairs.draw(np.random.default_rng(seed), real, n=56)
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        cross = np.fft.irfftn(np.fft.rfftn(lr) * np.fft.rfftn(hr).conj(), s=lr.shape)
        assert np.unravel_index(np.argmax(cross), cross.shape) == (0, 0, 0)
        assert np.corrcoef(lr.ravel(), hr.ravel())[0, 1] > 0.6
        assert pair.trusted[hr > 0.5].min() == 255


def test_noise_pairs_have_no_molecule_but_look_as_strong_as_one():
    """HR is empty, and LR reaches network units of a molecule."""
    for seed in range(6):
        pair = simulate.noise(np.random.default_rng(seed))
        assert not pair.hr.any()
        assert np.percentile(pair.lr.astype(np.float32), 99.9) > 0.3
        assert np.isfinite(pair.lr).all()
