"""Tests of the single steps that make a simulated map worse: shifts, solvent, detergent, noise and masks."""

from dataclasses import replace

import numpy as np
import pytest

from training import degrade, simulate
from training.structures import Scatterers


def test_misplacing_keeps_bonds_and_turns_side_chains(atoms):
    """The main chain shifts smoothly without a net shift; side chains turn about their bond, which keeps its length."""
    xyz = (atoms.coordinates + 32).astype(np.float32)
    first = np.flatnonzero(np.diff(atoms.side > 0, prepend=False) & (atoms.side > 0))
    far = 0.0
    for seed in range(6):
        moved = degrade.misplace(np.random.default_rng(seed), xyz, atoms.side, 64, 3.5, flexibility=0.5)
        step = moved - xyz
        assert np.linalg.norm(step[atoms.side == 0], axis=1).max() < 3
        bonds = [np.linalg.norm((at[first] - at[first - 3]), axis=1) for at in (xyz, moved)]
        assert np.median(np.abs(bonds[1] - bonds[0])) < 0.15
        assert np.abs(np.median(step, axis=0)).max() < 0.3
        far = max(far, float(np.linalg.norm(step[atoms.side > 0], axis=1).max()))
    assert far > 1  # some side chain has another rotamer


def test_detergent_lies_round_the_molecule_and_not_in_it():
    """There is none in the middle of the molecule, some around it, and it has no detail."""
    k, j, i = np.indices((64, 64, 64)) - 32
    molecule = (i * i + j * j + k * k < 14**2).astype(np.float32)
    for seed in range(4):
        density = degrade.belt(np.random.default_rng(seed), molecule)
        assert density[30:35, 30:35, 30:35].max() < 1e-3
        assert 0.02 < density.max() < 0.5
        power = degrade.radial_power(np.fft.rfftn(density), degrade.frequencies(64)[0], 64)[1]
        assert power[22:32].max() < 1e-3 * power[1:4].max()


def test_a_map_can_be_worse_along_one_direction():
    """Weights are 1 at the origin and at most 1 elsewhere, and vary within a shell."""
    n = 48
    spread = []
    for seed in range(8):
        factor = degrade.directional(np.random.default_rng(seed), n, 3.5)
        assert factor.shape == (n, n, n // 2 + 1)
        assert factor[0, 0, 0] == pytest.approx(1, abs=1e-6) and 0 <= factor.min() and factor.max() <= 1 + 1e-6
        shell = np.abs(np.sqrt(degrade.frequencies(n)[0]) * n - 14) < 0.5
        spread.append(np.ptp(factor[shell]))
    assert min(spread) > 0.1


def test_what_few_atoms_surround_is_exposed():
    """Ranks are from 0 to 1, low in the middle of a ball and high at its surface."""
    grid = np.argwhere(np.ones((20, 20, 20))) * 2.0 - 19
    radius = np.linalg.norm(grid, axis=1)
    ball, radius = grid[radius < 18], radius[radius < 18]
    exposed = degrade.exposure(ball + 32, 64)
    assert exposed.min() == 0 and exposed.max() == 1 and exposed.mean() == pytest.approx(0.5)
    assert exposed[radius < 9].max() < 0.4 and exposed[radius > 15].mean() > 0.6


def test_a_flexible_molecule_is_misplaced_more_than_a_rigid_one(atoms):
    """Shifts are measured over several draws, on the main chain, where nothing is rotated."""
    xyz = (atoms.coordinates + 32).astype(np.float32)
    size = {}
    for flexibility in (0.0, 1.0):
        steps = [degrade.misplace(np.random.default_rng(s), xyz, atoms.side, 64, 3.5, flexibility) - xyz for s in range(8)]
        size[flexibility] = np.mean([np.linalg.norm(step[atoms.side == 0], axis=1).mean() for step in steps])
    assert size[1.0] > 2.5 * size[0.0] > 0


def test_displaced_solvent_is_blurred_as_the_molecule_is():
    """An overall B-factor of 200 Å² dampens it by exp(-200 / 4 / 25) at 5 Å, and not at zero frequency."""
    ball = (np.sum((np.indices((32, 32, 32)) - 16) ** 2, axis=0) < 64).astype(np.float32)
    q2 = degrade.frequencies(32)[0]
    one, two = (degrade.solvent(np.random.default_rng(0), ball, b, q2) for b in (0.0, 200.0))
    assert one[0, 0, 0] == pytest.approx(two[0, 0, 0]) and 0 < one[0, 0, 0].real <= 0.2 * ball.sum()
    shell = np.abs(q2 - 1 / 25) < 1e-3
    np.testing.assert_allclose(np.abs(two[shell]), np.exp(-2 * q2[shell] / 0.04) * np.abs(one[shell]), rtol=1e-3, atol=1e-6)


def test_the_ends_of_acidic_side_chains_are_weak(monkeypatch):
    """In every draw they lose some or all of their density, and the rest of the molecule loses none."""
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.normal(0, 4, (300, 3)) + (18, 32, 32), rng.normal(0, 3, (80, 3)) + (48, 32, 32)])
    plain = Scatterers(xyz, np.full(380, 6.0), np.full(380, 30.0), np.zeros(380, int), np.repeat([0, 1], [300, 80]))
    acidic = replace(plain, side=2 * plain.side)
    monkeypatch.setattr(degrade, "smooth_field", lambda rng, n, length: np.zeros((n, n, n), np.float32))
    q2, left = degrade.frequencies(64)[0], []
    for seed in range(12):
        one, two = (np.fft.irfftn(degrade.signal(np.random.default_rng(seed), xyz, a, 64, 3.5, 0.5, 50.0, q2)[0])
                    for a in (plain, acidic))
        np.testing.assert_allclose(two[..., :31], one[..., :31], atol=0.02 * one.max())
        left.append(two[..., 40:].sum() / one[..., 40:].sum())
    assert -0.1 <= min(left) < 0.1 and 0.5 < max(left) <= 0.8


def test_a_shelf_of_noise_goes_on_where_little_was_sharpened(atoms):
    """Its power at 1.45 times the limit, relative to that at the limit, is negligible in maps that were sharpened."""
    n, d, raw_b = 64, 3.5, 160.0
    density = simulate.target_density(atoms.coordinates + 32, atoms.weights, n)
    q2, q_max = degrade.frequencies(n)
    shelf = {}
    for remaining in (0.2, 0.9):
        spectrum = np.fft.rfftn(density) * np.exp(-0.25 * remaining * raw_b * q2)
        maps = [degrade.deposit(np.random.default_rng(s), spectrum, density > 0.1, d, raw_b, remaining, q2, q_max <= 0.5)
                for s in range(12)]
        power = [degrade.radial_power(np.fft.rfftn(m), q2, n)[1] for m in maps]
        shelf[remaining] = np.median([p[round(1.45 * n / d)] / p[round(n / d)] for p in power])
    assert shelf[0.2] < 1e-5 and shelf[0.9] > 1e-3


def test_tight_masks_are_zones_close_to_atoms(atoms):
    """No mask, tight masks and wide ones all occur; tight ones are hard and end 2.5 Å or less from an atom's voxel."""
    from scipy import ndimage

    n, xyz = 64, atoms.coordinates + 32
    voxel = np.rint(xyz[:, ::-1]).astype(int)
    distance = ndimage.distance_transform_edt(degrade.counts(voxel, n) == 0)
    kinds = set()
    for seed in range(40):
        mask, tight = degrade.mask(np.random.default_rng(seed), xyz, voxel, atoms, (distance < 4).astype(np.float32))
        kinds.add("tight" if tight else "none" if mask.min() == 1 else "other")
        if tight:
            assert set(np.unique(mask)) == {0, 1} and distance[mask > 0].max() <= 2.5
    assert kinds == {"tight", "none", "other"}


def test_a_map_made_of_a_list_of_positive_voxels_has_no_negatives(monkeypatch):
    """Neighbours replace negative voxels; the mask still applies, and strong density hardly changes."""
    from scipy import ndimage

    rng = np.random.default_rng(2)
    density = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 2).astype(np.float32)
    density /= density.std()
    mask = np.zeros_like(density)
    mask[8:32, 8:32, 8:32] = 1
    inner = (slice(12, 28),) * 3
    below = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(degrade, "LIST_SHARE", share)
        cut = [degrade.mask_and_resample(np.random.default_rng(seed), density, mask, False, 1.0) for seed in range(8)]
        below[share] = max(float((c[inner] < 0).mean()) for c in cut)
        assert max(np.abs(c[:6]).max() for c in cut) < 1e-3
        assert all(np.corrcoef(c[inner][density[inner] > 1], density[inner][density[inner] > 1])[0, 1] > 0.8 for c in cut)
    assert below[0.0] > 0.3 and below[1.0] == 0
