"""Negative controls, baselines, and the reading of models."""

import gzip
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from superem.core.density import DensityMap

from training import baselines, structures
from training.metrics import Reference, evaluate_map, read_atoms
from training.metrics.atoms import Atoms
from training.metrics.cache import Cache, digest
from training.metrics.controls import (
    controls,
    end_domain,
    glycan,
    matched_level,
    noisy_solvent,
    randomised_phases,
    returned,
    shaped_noise,
    share_above,
    with_glycan,
    without_domain,
)
from training.metrics.grid import distance_to_atoms, spatial_frequency
from training.metrics.mtriage import CctbxError, mtriage


def rod(resolution=4.0) -> tuple[DensityMap, Atoms, Reference]:
    """Residues along x in a box, and their map at `resolution`."""
    rng = np.random.default_rng(2)
    along = np.repeat(np.linspace(12, 48, 25), 6)
    xyz = np.stack([along, np.full(150, 18.0), np.full(150, 18.0)], axis=1) + rng.uniform(-4, 4, (150, 3)) * [0.3, 1, 1]
    n = np.ones(150)
    atoms = Atoms(xyz, np.array(["C"] * 150), 30 * n, n, n > 0, n < 0, np.repeat(np.arange(25), 6))
    empty = DensityMap(np.zeros((36, 36, 60)))
    reference = Reference.prepare(atoms, empty, resolution)
    return DensityMap(reference.expected), atoms, reference


@pytest.fixture(scope="module")
def case():
    """One rod for all tests."""
    return rod()


def radial_power(array):
    """Power in broad shells."""
    shell = (spatial_frequency(array.shape, (1.0, 1.0, 1.0)) / 0.04).astype(int).ravel()
    return np.bincount(shell, (np.abs(np.fft.rfftn(array)) ** 2).ravel())[1:6]


def test_randomised_phases_keep_amplitudes_and_nothing_of_the_shape(case):
    """Same deviation and radial power round the solvent whatever the seed, no correlation, and the same from the same seed."""
    density = case[0]
    noise = randomised_phases(density, np.random.default_rng(7))
    for seed in range(4):  # the phase of a mean is a sign, which must not decide how much lies above a level
        array = randomised_phases(density, np.random.default_rng(seed)).array
        assert array.mean() == pytest.approx(np.median(density.array), abs=1e-5)
    assert noise.array.std() == pytest.approx(density.array.std(), rel=0.02)
    assert radial_power(noise.array) == pytest.approx(radial_power(density.array), rel=0.02)
    assert abs(np.corrcoef(noise.array.ravel(), density.array.ravel())[0, 1]) < 0.2
    assert np.array_equal(noise.array, randomised_phases(density, np.random.default_rng(7)).array)


def test_shaped_noise_is_as_strong_as_the_maps_own(case):
    """Noise of a known deviation, added to a model's map, is found again; a map without any gives hardly any."""
    density, _, reference = case
    rng = np.random.default_rng(4)
    strength = 0.5 * density.array[reference.inside].std()
    noisy = DensityMap(density.array + strength * rng.standard_normal(density.shape))
    found = shaped_noise(noisy, reference, rng).array
    assert found.std() == pytest.approx(strength, rel=0.3)
    coarse = np.abs(np.fft.rfftn(found))[(s := spatial_frequency(found.shape, density.step)) < 1 / 20]
    assert coarse[1:].max() < 1e-6 * np.abs(np.fft.rfftn(found))[s > 1 / 20].mean()  # bulk solvent rules there
    assert abs(np.corrcoef(found.ravel(), density.array.ravel())[0, 1]) < 0.1
    assert shaped_noise(density, reference, rng).array.std() < 0.5 * strength


def test_shaped_noise_takes_a_wrong_model_for_noise_only_without_the_resolution(case):
    """Noise of a known deviation is found again, though half of the model's atoms are out of place."""
    density, atoms, _ = case
    rng = np.random.default_rng(4)
    moved = atoms.xyz + np.where(np.arange(150) % 2, 1.5, 0)[:, None] * rng.standard_normal((150, 3))
    wrong = Reference.prepare(replace(atoms, xyz=moved), density, 4.0)
    s = spatial_frequency(density.shape, density.step)
    signal = np.fft.rfftn(density.array) * np.exp(-150 / 4 * s**2)
    # white to 3.5 Å, and at 4 Å three times as strong as the signal inside of the mask
    at_resolution = (np.abs(signal[abs(s - 0.25) < 0.01]) ** 2).mean()
    strength = np.sqrt(3 * at_resolution / (wrong.mask.astype(float) ** 2).sum())
    white = strength * np.fft.irfftn(np.where(s < 1 / 3.5, np.fft.rfftn(rng.standard_normal(density.shape)), 0), density.shape)
    noisy = DensityMap(np.fft.irfftn(signal, density.shape) + white)
    assert shaped_noise(noisy, wrong, rng, 4.0).array.std() == pytest.approx(white.std(), rel=0.3)
    assert shaped_noise(noisy, wrong, rng).array.std() > 2 * white.std()


def test_noisy_solvent_leaves_the_molecule_and_is_noise_in_the_margin(case):
    """Within 2 Å of an atom nothing changes; in the margin the noise has its whole strength."""
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


def test_matched_level_encloses_the_molecule(case):
    """Above the level lies the molecule's volume."""
    density, atoms, reference = case
    level = matched_level(density, reference)
    assert (density.array[reference.near] >= level).sum() == pytest.approx(atoms.volume, abs=1)
    assert share_above(density.array, level) == pytest.approx(atoms.volume / density.array.size, rel=0.2)


def test_the_deleted_domain_is_one_end(case):
    """A fifth of the residues, whole, all beyond the others along the rod."""
    _, atoms, _ = case
    gone = end_domain(atoms)
    assert gone.sum() == 5 * 6
    assert len(np.unique(atoms.residue[gone])) == 5
    ends = atoms.xyz[gone, 0].mean() - atoms.xyz[~gone, 0].mean()
    assert abs(ends) > 15


def test_a_deleted_domain_is_solvent_and_the_rest_untouched(case):
    """Nothing is left of it, and density at the atoms that stay and away from it does not change."""
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


def test_controls_of_a_network_that_does_nothing(case):
    """The input itself returns nothing of a deleted domain, keeps all of a ligand and shows noise as it was."""
    density, _, reference = case
    found = controls(density, density, reference, 4.0, lambda d: d)
    assert found["deleted"] == 0
    assert found["ligand"] == pytest.approx(1)
    assert found["weak"] == pytest.approx(0.5, abs=0.05) and found["faint"] == pytest.approx(0.15, abs=0.05)
    assert found["planted"] == 1
    assert found["noise"] == found["noise_input"]
    assert found["solvent"] == pytest.approx(found["solvent_input"], abs=0.02)
    assert found["noise_unexplained"] == found["noise_unexplained_input"]
    assert 0 < found["level"] < 1
    assert found["phases"] == found["phases_input"] > 0


def test_controls_catch_a_network_that_invents(case):
    """A network that always answers with the molecule is caught by the deletion, one that erases by the ligand."""
    density, _, reference = case
    hr = reference.hr
    assert controls(density, hr, reference, 4.0, lambda d: hr if d.shape == hr.shape else d)["deleted"] == 1

    def erase(d):
        return DensityMap(np.where(d.array > 0.5 * d.array.max(), d.array, 0), d.origin)

    assert controls(density, erase(density), reference, 4.0, erase)["ligand"] < 0.9


def test_controls_see_heights_that_are_evened_out(case):
    """A network that draws all density alike brings a weak domain back at full height, one that cuts what is weak erases it."""
    density, _, reference = case
    top = density.array.max()

    def even(d):
        return DensityMap(np.where(d.array > 0.02 * top, 1.0, 0.0), d.origin)

    def cut(d):
        return DensityMap(np.where(d.array > 0.3 * top, d.array, 0), d.origin)

    found = controls(density, even(density), reference, 4.0, even)
    assert found["weak"] > 0.8 and found["faint"] > 0.5
    assert controls(density, cut(density), reference, 4.0, cut)["faint"] < 0.02


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


def test_sharpening_levels_amplitudes_but_never_blurs(case):
    """A map blurred by B = 150 is sharpened by as much more; a flat one is left alone."""
    rng = np.random.default_rng(1)
    shape = (64, 64, 64)
    s = spatial_frequency(shape, (1.0, 1.0, 1.0))
    white = np.fft.rfftn(rng.standard_normal(shape))

    def filtered(b):
        return DensityMap(np.fft.irfftn(white * np.exp(-b / 4 * s**2), shape))

    assert baselines.guinier_b(filtered(150), 4.0) == pytest.approx(-150, abs=10)
    assert baselines.guinier_b(filtered(-80), 4.0) == 0
    sharp = baselines.sharpen(filtered(150), 4.0)
    ratio = np.abs(np.fft.rfftn(sharp.array)) / np.abs(white)
    assert np.median(ratio[(s > 0.1) & (s < 0.24)]) == pytest.approx(1, abs=0.1)
    assert ratio[s > 0.3].max() < 1e-3


def test_a_folder_without_the_released_generator_is_refused(tmp_path):
    """The message says what is missing."""
    with pytest.raises(FileNotFoundError, match="no checkout of the released generator"):
        baselines.ReleasedGenerator(tmp_path)


def test_released_generator_tiles_average_to_the_prediction(tmp_path):
    """A stand-in that returns its input gives the map above its contour back, and leaves no module behind."""
    import sys

    import torch

    (tmp_path / "utils.py").write_text("")
    (tmp_path / "model.py").write_text(
        "import torch, utils\nclass Generator(torch.nn.Module):\n    def __init__(self, *a):\n        super().__init__()\n"
        "        self.gain = torch.nn.Parameter(torch.zeros(1))\n    def forward(self, x):\n        return self.gain * x\n")
    (tmp_path / "model").mkdir()
    torch.save({"gain": torch.ones(1)}, tmp_path / "model" / "G_model")
    array = np.random.default_rng(0).random((20, 30, 26)).astype(np.float32)
    density = DensityMap(array, (1, 2, 3))
    result = baselines.ReleasedGenerator(tmp_path, stride=5, fill=1.5).enhance(density, 0.2 * array.size)
    contour = np.sort(array.ravel())[::-1][round(0.3 * array.size) - 1]
    assert result == pytest.approx(np.maximum(array - contour, 0), abs=1e-5)
    assert "model" not in sys.modules and "utils" not in sys.modules


PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 20.00           N
ATOM      2  CB  ALA A   1      11.639   6.071  -5.147  0.50 30.00           C
ATOM      3  H   ALA A   1      11.000   6.000  -5.000  1.00 20.00           H
HETATM    4  C1  NAG A   2      20.000   6.000  -5.000  1.00 20.00           C
HETATM    5  C2  NAG A   2      21.000   6.000  -5.000  1.00 20.00           C
HETATM    6  C3  NAG A   2      22.000   6.000  -5.000  1.00 20.00           C
HETATM    7  C4  NAG A   2      23.000   6.000  -5.000  1.00 20.00           C
HETATM    8  C5  NAG A   2      24.000   6.000  -5.000  1.00 20.00           C
HETATM    9  O5  NAG A   2      25.000   6.000  -5.000  1.00 20.00           O
HETATM   10 ZN    ZN A   3      30.000   6.000  -5.000  1.00 20.00          ZN
HETATM   11  O   HOH A   4      35.000   6.000  -5.000  1.00 20.00           O
END
"""


def test_reading_atoms(tmp_path):
    """Hydrogens go, occupancy and B-factor stay, and only residues of six atoms or more are ligands."""
    path = tmp_path / "model.pdb.gz"
    path.write_bytes(gzip.compress(PDB.encode()))
    atoms = read_atoms(path)
    assert list(atoms.element) == ["N", "C", "C", "C", "C", "C", "C", "O", "Zn", "O"]
    assert atoms.xyz[0] == pytest.approx([11.104, 6.134, -6.504])
    assert (atoms.b_iso[1], atoms.occupancy[1]) == (30, 0.5)
    assert list(atoms.backbone[:2]) == [True, False]
    assert list(np.nonzero(atoms.ligand)[0]) == [2, 3, 4, 5, 6, 7]
    assert atoms.volume == pytest.approx(atoms.mass.sum() * 1.21 * 1.07)  # whole, whatever the occupancy
    empty = tmp_path / "empty.pdb"
    empty.write_text("END\n")
    for reader in (read_atoms, structures.read_atoms):
        with pytest.raises(ValueError, match="no atoms"):
            reader(empty)


def test_cache_keeps_and_tells_apart(tmp_path):
    """What was made is not made again; other inputs have other names."""
    cache = Cache(tmp_path / "new")
    made = []
    for _ in range(2):
        array = cache.array("k", lambda: made.append(1) or np.arange(3.0))
    assert made == [1] and list(array) == [0, 1, 2]
    assert cache.record("r") is None
    cache.keep("r", {"a": None})
    assert cache.record("r") == {"a": None}
    a = np.arange(6)
    assert len({digest(a), digest(a.reshape(2, 3)), digest(a.astype(np.float32)), digest(a, 1), digest(b"1")}) == 5
    assert digest(a, 1) == digest(a.copy(), 1)


CCTBX = Path(".venv-evaluate/bin/python")


def test_an_interpreter_without_cctbx_is_told_of(case):
    """One sentence says what failed."""
    density, atoms, _ = case
    with pytest.raises(CctbxError, match="could not be run"):
        list(mtriage("/no/such/python", [(density, atoms, 4.0)]))
    with pytest.raises(CctbxError, match="cctbx failed"):
        list(mtriage(Path(sys.executable), [(density, atoms, 4.0)]))
    assert list(mtriage("/no/such/python", [])) == []


@pytest.mark.skipif(not CCTBX.exists(), reason="no .venv-evaluate with cctbx (requirements/evaluate.txt)")
def test_our_figures_are_those_of_cctbx(case):
    """CC_mask, CC_box and Q-score agree with cctbx's, and mtriage finds no fault with the model's own map."""
    density, atoms, reference = case
    rng = np.random.default_rng(4)
    noisy = DensityMap(density.array + density.array.std() * rng.standard_normal(density.shape))
    ours = [evaluate_map(d, reference) for d in (density, noisy)]
    theirs = list(mtriage(CCTBX, [(d, atoms, 4.0) for d in (density, noisy)], qscore=True))
    for one, other in zip(ours, theirs, strict=True):
        assert one["cc_mask"] == pytest.approx(other["cctbx_cc_mask"], abs=0.01)
        assert one["cc_box"] == pytest.approx(other["cctbx_cc_box"], abs=0.01)
        assert one["q"] == pytest.approx(other["cctbx_q"], abs=0.05)
    # the map ends at 4 Å, and both curves soon after: in a box this small a mask smears that end over some shells
    assert theirs[0]["d_fsc05"] == pytest.approx(3.8, abs=0.25)
    assert ours[0]["fsc05"] == pytest.approx(3.8, abs=0.25)


def test_cube_free_maps_do_not_spoil_the_mean():
    """A box smaller than a cube has no cube figures; means leave it out."""
    atoms = rod()[1]
    small = atoms.select(atoms.xyz[:, 0] < 20)
    reference = Reference.prepare(small, DensityMap(np.zeros((24, 36, 36))), 4.0)
    measured = evaluate_map(DensityMap(reference.expected), reference)
    assert math.isnan(measured["cube"])
