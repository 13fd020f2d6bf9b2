"""Tests that simulated pairs obey the physics that their stated resolution implies."""

import numpy as np
import pytest

from training import degrade, simulate
from training.density import SIGMA_PER_RESOLUTION, gaussian_density, hr_resolution


def shell_correlation(a, b):
    """Return the FSC of two cubes by shell, from frequency 0."""
    n = a.shape[0]
    f, g = np.fft.rfftn(a), np.fft.rfftn(b)
    shell = np.rint(np.sqrt(simulate.frequencies(n)[0]) * n).astype(int).ravel()
    cross = np.bincount(shell, (f * g.conj()).real.ravel())
    return cross / np.sqrt(np.bincount(shell, np.abs(f).ravel() ** 2) * np.bincount(shell, np.abs(g).ravel() ** 2))


def test_gaussian_density_is_a_gaussian_at_the_right_place():
    """Peak, integral and centre of one atom are right, on an anisotropic grid with an origin."""
    step, origin = (0.7, 1.0, 0.9), (-9.0, 4.0, 2.0)
    grid = gaussian_density(np.array([[-1.3, 14.4, 11.7]]), np.array([6.0]), (24, 22, 26), 1.2, origin, step)
    cell = np.prod(step)
    assert grid.sum() * cell == pytest.approx(6, rel=1e-3)
    k, j, i = (float((grid * index).sum() / grid.sum()) for index in np.indices(grid.shape))
    found = np.array([i, j, k]) * step + origin
    np.testing.assert_allclose(found, [-1.3, 14.4, 11.7], atol=1e-3)
    assert grid.max() <= 6 / (2 * np.pi * 1.2**2) ** 1.5


def test_atoms_outside_the_grid_add_only_what_reaches_in():
    """An atom just outside contributes its tail, one far away nothing."""
    grid = gaussian_density(np.array([[-1.0, 4, 4], [90, 4, 4]]), np.ones(2), (8, 8, 8), 1.0)
    assert grid[4, 4, 0] == pytest.approx(np.exp(-0.5) / (2 * np.pi) ** 1.5, rel=1e-5)
    assert grid[..., -1].max() == 0


def test_the_paper_pairs_coarse_maps_with_coarse_targets():
    """HR is at 1.8 Å up to a resolution of 3.5 Å, else at 3.0 Å; the blur from one to the other is the loss's."""
    from training.losses import BLUR

    assert (hr_resolution(3.5), hr_resolution(3.6)) == (1.8, 3.0)
    blur = SIGMA_PER_RESOLUTION * np.sqrt(3.0**2 - 1.8**2)
    assert pytest.approx(blur, abs=0.02) == BLUR


def test_a_seed_gives_the_same_pair_again(atoms):
    """Runs are reproducible."""
    one, two = (simulate.simulate(np.random.default_rng(3), atoms) for _ in range(2))
    np.testing.assert_array_equal(one.lr, two.lr)
    np.testing.assert_array_equal(one.hr, two.hr)
    assert not np.array_equal(simulate.simulate(np.random.default_rng(4), atoms).lr, one.lr)


def test_the_fsc_with_the_model_is_a_half_near_the_stated_resolution(atoms):
    """Over many draws, it is high at half the frequency, 0.15 to 0.6 at the limit as in deposited train maps, and low beyond."""
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
    """LR and HR are not shifted: their cross-correlations peak within a voxel of zero, and at zero in most pairs."""
    peaks = []
    for seed in range(9):
        pair = simulate.simulate(np.random.default_rng(seed), atoms)
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        cross = np.fft.fftshift(np.fft.irfftn(np.fft.rfftn(lr) * np.fft.rfftn(hr).conj(), s=lr.shape))
        peaks.append(np.array(np.unravel_index(np.argmax(cross), cross.shape)) - len(lr) // 2)
    assert np.abs(peaks).max() <= 1
    np.testing.assert_array_equal(np.median(peaks, axis=0), 0)


def test_a_tenth_of_pairs_hold_no_molecule(atoms, monkeypatch):
    """Two in five of these have the spectrum of a molecule's map."""
    pair = simulate.Pair(np.ones((12, 12, 12)), np.ones((12, 12, 12)), None, 3.0)
    kinds = []
    monkeypatch.setattr(simulate, "simulate", lambda rng, atoms: pair)
    monkeypatch.setattr(simulate, "noise", lambda rng, like=None: kinds.append(like is not None) or None)
    stream = simulate.stream(np.random.default_rng(0), {"PDownB": [atoms]})
    found = [next(stream) for _ in range(2000)]
    assert found.count(None) / len(found) == pytest.approx(0.1, abs=0.03)
    assert np.mean(kinds) == pytest.approx(0.4, abs=0.12)


def test_detergent_is_in_the_map_and_in_the_target(atoms, monkeypatch):
    """HR holds it as smooth density, so that the network neither sharpens nor removes it."""
    block = np.zeros((64, 64, 64), np.float32)
    block[:6] = 3.8

    def made(share):
        monkeypatch.setattr(simulate, "BELT_SHARE", share)
        return simulate.simulate(np.random.default_rng(4), atoms)

    monkeypatch.setattr(degrade, "mask", lambda rng, xyz, voxel, atoms, molecule: (np.ones_like(molecule), False))
    monkeypatch.setattr(degrade, "belt", lambda rng, molecule: np.resize(block, molecule.shape))
    hr = made(1).hr.astype(float)
    assert np.median(hr[:4]) == pytest.approx(3.8 / simulate.TARGET_UNIT, rel=0.01)
    assert np.median(made(0).hr[:4]) < 0.1


def test_noise_pairs_have_no_molecule_but_look_as_strong_as_one():
    """HR is empty, and LR reaches the values of a molecule in network units."""
    for seed in range(6):
        pair = simulate.noise(np.random.default_rng(seed))
        assert not pair.hr.any()
        assert np.percentile(pair.lr.astype(np.float32), 99.9) > 0.3
        assert np.isfinite(pair.lr).all()


def test_noise_like_a_pair_has_its_spectrum_and_none_of_its_phases(atoms):
    """The amplitudes by shell are similar, except for masking and scaling; there is no correlation with the map."""
    shares = []
    for seed in range(8):
        like = simulate.simulate(np.random.default_rng(seed), atoms)
        pair = simulate.noise(np.random.default_rng(100 + seed), like)
        assert pair.lr.shape == like.lr.shape and pair.resolution == like.resolution and not pair.hr.any()
        a, b = (x.astype(np.float32) - x.astype(np.float32).mean() for x in (pair.lr, like.lr))
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2  # a few low frequencies hold most of the power
        n = len(a)
        q2 = simulate.frequencies(n)[0]
        one, two = (degrade.radial_power(np.fft.rfftn(x), q2, n)[1][2 : n // 2] for x in (a, b))
        shares.append(np.corrcoef(np.log(one), np.log(two))[0, 1])
    assert np.median(shares) > 0.9


def test_a_neighbour_touches_and_does_not_overlap(atoms):
    """It has chains of its own, and no atom closer than a bond length."""
    from scipy.spatial import cKDTree

    for seed in range(4):
        both = simulate._with_neighbour(np.random.default_rng(seed), atoms)
        one, other = both.coordinates[: len(atoms)], both.coordinates[len(atoms) :]
        nearest = cKDTree(one).query(other)[0].min()
        assert 1 <= nearest < 25
        assert not set(both.chains[: len(atoms)]) & set(both.chains[len(atoms) :])


def test_a_ligand_is_in_the_map_and_in_the_target(atoms):
    """It has 8 to 40 atoms, mostly a bond length apart, and density in HR."""
    for seed in range(4):
        both = simulate._with_ligand(np.random.default_rng(seed), atoms)
        ligand = both.coordinates[len(atoms) :]
        assert 8 <= len(ligand) <= 40
        gaps = np.linalg.norm(ligand[:, None] - ligand, axis=2) + 9 * np.eye(len(ligand))
        assert np.median(gaps.min(axis=1)) == pytest.approx(1.5, abs=0.25)
        target = simulate.target_density(both.coordinates[len(atoms) :] - ligand.mean(0) + 20, both.weights[len(atoms) :], 40)
        assert target.max() > 0.3


def test_solvent_is_taken_from_the_map(atoms, monkeypatch):
    """Solvent much denser than the molecule would turn the molecule into a hole."""
    monkeypatch.setattr(degrade, "mask", lambda rng, xyz, voxel, atoms, molecule: (np.ones_like(molecule), False))
    monkeypatch.setattr(degrade, "solvent", lambda rng, molecule, b, q2: np.fft.rfftn(100 * molecule))
    for seed in range(3):
        pair = simulate.simulate(np.random.default_rng(seed), atoms)
        assert np.corrcoef(pair.lr.ravel().astype(float), pair.hr.ravel() > 0.05)[0, 1] < 0  # without this solvent, 0.5 to 0.7


def test_voxels_are_as_large_as_those_of_deposited_maps(atoms, monkeypatch):
    """They are 0.6 to 1.8 Å, never too large for the resolution, and the map has no frequencies beyond their Nyquist limit."""
    def signal(rng, xyz, atoms, n, *_):
        return np.zeros((n, n, n // 2 + 1), np.complex64), np.zeros(len(xyz), bool)

    def deposit(rng, spectrum, molecule, d, raw_b, remaining_falloff, q2, nyquist_mask):
        drawn.append((d, degrade.frequencies(len(molecule))[1][nyquist_mask].max(), len(molecule)))
        return np.zeros_like(molecule)

    def mask_and_resample(rng, density, mask, tight, voxel_size):
        sizes.append(voxel_size)
        return np.random.default_rng(0).random(density.shape)

    drawn, sizes = [], []
    monkeypatch.setattr(degrade, "misplace", lambda rng, xyz, *_: xyz)
    for stand_in in (signal, deposit, mask_and_resample):
        monkeypatch.setattr(degrade, stand_in.__name__, stand_in)
    rng = np.random.default_rng(0)
    for _ in range(60):
        simulate.simulate(rng, atoms, largest=56)
    assert 0.6 <= min(sizes) < 0.7 and 1.65 < max(sizes) <= 1.8 and len(sizes) > 50
    for size, (d, highest, n) in zip(sizes, drawn, strict=True):
        assert size <= d / 2.3 and highest == pytest.approx(min(0.5, 1 / (2 * size)), abs=1 / n)
