"""Tests of the pairs drawn from deposited maps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from superem.core.density import DensityMap

from training import pairs, simulate
from training.density import gaussian_density


def test_real_pairs_lie_on_each_other_in_every_orientation(atoms):
    """A map drawn in a random orientation still lies on its model."""
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
        assert (pair.trusted[hr < 0.01] == 255).mean() > 0.8  # where both map and model are empty
    assert pairs.draw(np.random.default_rng(0), replace(real, resolution=2.0), n=56).resolution >= 2.8


def test_a_map_that_is_too_good_is_made_coarser():
    """Every pair drawn from a 2 Å map is degraded to 2.8 Å or coarser."""
    white = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    q = np.sqrt(simulate.frequencies(32)[0])
    for seed in range(8):
        lr, resolution = pairs._degrade(np.random.default_rng(seed), white, 2.0, 32)
        spectrum = np.abs(np.fft.rfftn(lr))
        assert resolution >= 2.8 and spectrum[q > 0.48].max() < 1e-3 * spectrum.max()


def test_unmodelled_density_is_not_trusted(atoms):
    """Strong density 12 Å from the nearest atom may be right or wrong, so it is not trusted."""
    away = np.array([atoms.coordinates[:, 0].max() + 12, 0, 0])
    more = np.concatenate([atoms.coordinates, away + np.random.default_rng(1).normal(0, 2.5, (200, 3))])
    array = gaussian_density(more, np.full(len(more), 7.0), (64, 64, 80), 1.5, (-32.0, -32.0, -32.0))
    density = DensityMap(array, (-32.0, -32.0, -32.0))
    real = pairs.RealMap(density, ndimage.spline_filter(array, output=np.float32), atoms, 3.0, "test")
    pair = pairs.draw(np.random.default_rng(0), real, n=80)
    doubted = pair.trusted == 0
    assert doubted.sum() > 300 and pair.hr[doubted].max() < 0.1
    assert pair.lr[doubted].astype(float).mean() > 0.3


def test_the_edges_of_masks_are_hard_in_half_of_the_draws(atoms):
    """They are hard as in deposited crops; in the other draws they ring, as if such a crop had been resampled."""
    origin = (-24.0, -24.0, -24.0)
    array = gaussian_density(atoms.coordinates, atoms.weights, (48, 48, 48), 1.1, origin)
    near = gaussian_density(atoms.coordinates, np.ones(len(atoms)), array.shape, 1.5, origin) > 0.02
    density = DensityMap(np.where(near, array, 0), origin)
    real = pairs.RealMap(density, ndimage.spline_filter(density.array, output=np.float32), atoms, 3.0, "test")
    flat = []
    for seed in range(10):
        lr = pairs.draw(np.random.default_rng(seed), real, n=48).lr
        flat.append(np.unique(lr, return_counts=True)[1].max() / lr.size)  # share of empty voxels
    assert 2 <= np.sum(np.array(flat) > 0.7) <= 8 and min(flat) < 0.2


def test_every_protein_is_drawn_as_often_as_any_other(atoms, monkeypatch):
    """Proteins are drawn equally often, however many maps they have."""
    drawn = []
    pair = simulate.Pair(np.ones((12, 12, 12)), np.ones((12, 12, 12)), None, 3.0)
    monkeypatch.setattr(pairs, "draw", lambda rng, real: drawn.append(real.group) or pair)
    maps = {n: pairs.RealMap(None, None, atoms, 3.0, g) for n, g in (("a", "A"), ("b", "A"), ("c", "A"), ("d", "D"))}
    for _ in zip(range(400), pairs.stream(np.random.default_rng(0), maps)):  # noqa: B905
        pass
    assert drawn.count("D") / len(drawn) == pytest.approx(0.5, abs=0.1)
