"""Tests of the maps for the negative controls, made from the map of a rod."""

from dataclasses import replace

import numpy as np
import pytest
from superem.core.density import DensityMap

from training.metrics import Reference
from training.metrics.control_maps import (
    end_domain,
    glycan,
    noisy_solvent,
    randomised_phases,
    shaped_noise,
    with_glycan,
    without_domain,
)
from training.metrics.controls import matched_level, returned
from training.metrics.grid import distance_to_atoms, spatial_frequency


def radial_power(array):
    """Return the power in broad shells."""
    shell = (spatial_frequency(array.shape, (1.0, 1.0, 1.0)) / 0.04).astype(int).ravel()
    return np.bincount(shell, (np.abs(np.fft.rfftn(array)) ** 2).ravel())[1:6]


def test_randomised_phases_keep_amplitudes_and_nothing_of_the_shape(case):
    """The mean is the solvent level for all seeds; deviation and radial power stay; nothing correlates; a seed repeats a map."""
    density = case[0]
    noise = randomised_phases(density, np.random.default_rng(7))
    for seed in range(4):  # the mean's random sign must not shift the map
        array = randomised_phases(density, np.random.default_rng(seed)).array
        assert array.mean() == pytest.approx(np.median(density.array), abs=1e-5)
    assert noise.array.std() == pytest.approx(density.array.std(), rel=0.02)
    assert radial_power(noise.array) == pytest.approx(radial_power(density.array), rel=0.02)
    assert abs(np.corrcoef(noise.array.ravel(), density.array.ravel())[0, 1]) < 0.2
    assert np.array_equal(noise.array, randomised_phases(density, np.random.default_rng(7)).array)


def test_shaped_noise_is_as_strong_as_the_maps_own(case):
    """Noise of known strength, added to a model's map, is recovered; a map without noise gives hardly any."""
    density, _, reference = case
    rng = np.random.default_rng(4)
    strength = 0.5 * density.array[reference.inside].std()
    noisy = DensityMap(density.array + strength * rng.standard_normal(density.shape))
    found = shaped_noise(noisy, reference, rng).array
    assert found.std() == pytest.approx(strength, rel=0.3)
    coarse = np.abs(np.fft.rfftn(found))[(s := spatial_frequency(found.shape, density.step)) < 1 / 20]
    assert coarse[1:].max() < 1e-6 * np.abs(np.fft.rfftn(found))[s > 1 / 20].mean()  # where bulk solvent dominates
    assert abs(np.corrcoef(found.ravel(), density.array.ravel())[0, 1]) < 0.1
    assert shaped_noise(density, reference, rng).array.std() < 0.5 * strength


def test_shaped_noise_takes_a_wrong_model_for_noise_only_without_the_resolution(case):
    """With the resolution, noise of known strength is recovered although half of the model's atoms are misplaced."""
    density, atoms, _ = case
    rng = np.random.default_rng(4)
    moved = atoms.xyz + np.where(np.arange(150) % 2, 1.5, 0)[:, None] * rng.standard_normal((150, 3))
    wrong = Reference.prepare(replace(atoms, xyz=moved), density, 4.0)
    s = spatial_frequency(density.shape, density.step)
    signal = np.fft.rfftn(density.array) * np.exp(-150 / 4 * s**2)
    # white to 3.5 Å, and at 4 Å with three times the power of the signal inside the mask
    at_resolution = (np.abs(signal[abs(s - 0.25) < 0.01]) ** 2).mean()
    strength = np.sqrt(3 * at_resolution / (wrong.mask.astype(float) ** 2).sum())
    white = strength * np.fft.irfftn(np.where(s < 1 / 3.5, np.fft.rfftn(rng.standard_normal(density.shape)), 0), density.shape)
    noisy = DensityMap(np.fft.irfftn(signal, density.shape) + white)
    assert shaped_noise(noisy, wrong, rng, 4.0).array.std() == pytest.approx(white.std(), rel=0.3)
    assert shaped_noise(noisy, wrong, rng).array.std() > 2 * white.std()


def test_three_quarters_of_the_power_at_the_resolution_are_noise(case):
    """A map that no model explains is all noise, except for the quarter of its power on which half maps agree."""
    _, _, reference = case
    white = DensityMap(np.random.default_rng(3).standard_normal(reference.hr.shape))
    bound, all_of_it = (shaped_noise(white, reference, np.random.default_rng(5), d).array.std() for d in (4.0, None))
    assert bound / all_of_it == pytest.approx(np.sqrt(0.75), rel=0.03)


def test_noisy_solvent_leaves_the_molecule_and_is_noise_in_the_margin(case):
    """Nothing changes within 2 Å of an atom, and the noise has its full strength in the margin."""
    density, atoms, reference = case
    noise = DensityMap(5 + np.random.default_rng(1).standard_normal(density.shape))
    wide, solvent = noisy_solvent(density, reference, noise)
    assert wide.shape == tuple(n + 32 for n in density.shape)
    near = distance_to_atoms(density, atoms.xyz, 2.0) <= 2
    assert wide.array[16:-16, 16:-16, 16:-16][near] == pytest.approx(density.array[near])
    assert wide.positions(np.array([[16, 16, 16]]))[0] == pytest.approx(density.positions(np.zeros((1, 3)))[0])
    assert not solvent[16:-16, 16:-16, 16:-16].any()
    assert wide.array[solvent].std() == pytest.approx(1, rel=0.05)
    assert wide.array[solvent].mean() == pytest.approx(np.median(density.array), abs=0.05)


def test_the_deleted_domain_is_one_end(case):
    """It is a fifth of the residues, all complete and at one end of the rod."""
    _, atoms, _ = case
    gone = end_domain(atoms)
    assert gone.sum() == 5 * 6
    assert len(np.unique(atoms.residue[gone])) == 5
    ends = atoms.xyz[gone, 0].mean() - atoms.xyz[~gone, 0].mean()
    assert abs(ends) > 15


def test_a_deleted_domain_is_solvent_and_the_rest_untouched(case):
    """Nothing is left of it, and density does not change at atoms that stay and are not near it."""
    density, atoms, reference = case
    gone = end_domain(atoms)
    emptied, region = without_domain(density, atoms, gone, np.random.default_rng(0))
    level = matched_level(density, reference)
    assert region.sum() > 100
    assert distance_to_atoms(density, atoms.xyz[~gone], 12)[region].min() >= 4
    assert returned(density, emptied, level, region) == 0
    assert returned(density, density, level, region) == 1
    far = np.zeros(density.shape, bool)
    direction = np.sign(atoms.xyz[gone, 0].mean() - 30)
    far[:, :, :30] = direction > 0
    far[:, :, 30:] = direction < 0
    assert np.array_equal(emptied.array[far], density.array[far])


def test_a_glycan_is_planted_outside_of_the_protein(case):
    """Bond lengths are a sugar's, no atom touches the protein, and the map has density there."""
    density, atoms, _ = case
    xyz = glycan()
    gaps = np.linalg.norm(xyz[:, None] - xyz, axis=-1) + 10 * np.eye(len(xyz))
    assert 1.3 < gaps.min() and gaps.min(axis=1).max() < 1.7
    host, sugar = with_glycan(density, atoms, 4.0)
    between = np.linalg.norm(sugar.xyz[:, None] - atoms.xyz, axis=-1)
    assert 2.0 < between.min() < 8
    assert host.array.max() <= 1.2 * density.array.max()
    inner = host.array[20:-20, 20:-20, 20:-20]
    assert np.abs(inner - density.array).max() > 0.2 * density.array.max()
