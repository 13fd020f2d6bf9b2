"""Tests of the controls, mtriage, reading of atoms, and the cache."""

import gzip
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from superem.core.density import DensityMap

from training import structures
from training.metrics import Reference, evaluate_map, read_atoms
from training.metrics.cache import Cache, digest
from training.metrics.controls import controls, matched_level, share_above
from training.metrics.mtriage import CctbxError, mtriage


def test_matched_level_encloses_the_molecule(case):
    """The volume above the level is the molecule's."""
    density, atoms, reference = case
    level = matched_level(density, reference)
    assert (density.array[reference.near] >= level).sum() == pytest.approx(atoms.volume, abs=1)
    assert share_above(density.array, level) == pytest.approx(atoms.volume / density.array.size, rel=0.2)


def test_controls_of_a_network_that_does_nothing(case):
    """The identity restores nothing of a deleted domain, keeps all of a ligand, and leaves noise as it was."""
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
    """A network that always returns the molecule fails the deletion control, one that erases fails the ligand control."""
    density, _, reference = case
    hr = reference.hr
    assert controls(density, hr, reference, 4.0, lambda d: hr if d.shape == hr.shape else d)["deleted"] == 1

    def erase(d):
        return DensityMap(np.where(d.array > 0.5 * d.array.max(), d.array, 0), d.origin)

    assert controls(density, erase(density), reference, 4.0, erase)["ligand"] < 0.9


def test_controls_see_heights_that_are_evened_out(case):
    """A network that makes all density equally high restores a weak domain; one that cuts weak density erases it."""
    density, _, reference = case
    top = density.array.max()

    def even(d):
        return DensityMap(np.where(d.array > 0.02 * top, 1.0, 0.0), d.origin)

    def cut(d):
        return DensityMap(np.where(d.array > 0.3 * top, d.array, 0), d.origin)

    found = controls(density, even(density), reference, 4.0, even)
    assert found["weak"] > 0.8 and found["faint"] > 0.5
    assert controls(density, cut(density), reference, 4.0, cut)["faint"] < 0.02


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
    """Hydrogens are removed, occupancies and B-factors kept, and only residues of six atoms or more are ligands."""
    path = tmp_path / "model.pdb.gz"
    path.write_bytes(gzip.compress(PDB.encode()))
    atoms = read_atoms(path)
    assert list(atoms.element) == ["N", "C", "C", "C", "C", "C", "C", "O", "Zn", "O"]
    assert atoms.xyz[0] == pytest.approx([11.104, 6.134, -6.504])
    assert (atoms.b_iso[1], atoms.occupancy[1]) == (30, 0.5)
    assert list(atoms.backbone[:2]) == [True, False]
    assert list(np.nonzero(atoms.ligand)[0]) == [2, 3, 4, 5, 6, 7]
    assert atoms.volume == pytest.approx(atoms.mass.sum() * 1.21 * 1.07)  # in full, whatever the occupancy
    empty = tmp_path / "empty.pdb"
    empty.write_text("END\n")
    for reader in (read_atoms, structures.read_scatterers):
        with pytest.raises(ValueError, match="no atoms"):
            reader(empty)


def test_cache_keeps_and_tells_apart(tmp_path):
    """A cached result is not made again; different inputs have different digests."""
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
    """CC_mask, CC_box and Q-score agree with cctbx's, and mtriage finds the model's own map perfect."""
    density, atoms, reference = case
    rng = np.random.default_rng(4)
    noisy = DensityMap(density.array + density.array.std() * rng.standard_normal(density.shape))
    ours = [evaluate_map(d, reference) for d in (density, noisy)]
    theirs = list(mtriage(CCTBX, [(d, atoms, 4.0) for d in (density, noisy)], qscore=True))
    for one, other in zip(ours, theirs, strict=True):
        assert one["cc_mask"] == pytest.approx(other["cctbx_cc_mask"], abs=0.01)
        assert one["cc_box"] == pytest.approx(other["cctbx_cc_box"], abs=0.01)
        assert one["q"] == pytest.approx(other["cctbx_q"], abs=0.05)
    # the map ends at 4 Å and both curves soon after it: in so small a box, a mask smears this end over some shells
    assert theirs[0]["d_fsc05"] == pytest.approx(3.8, abs=0.25)
    assert ours[0]["fsc05"] == pytest.approx(3.8, abs=0.25)


def test_cube_free_maps_do_not_spoil_the_mean(case):
    """A box smaller than a cube has no cube figures, and means ignore it."""
    atoms = case[1]
    small = atoms.select(atoms.xyz[:, 0] < 20)
    reference = Reference.prepare(small, DensityMap(np.zeros((24, 36, 36))), 4.0)
    measured = evaluate_map(DensityMap(reference.expected), reference)
    assert math.isnan(measured["cube"])
