"""Tests of fetching training data by id, from a small archive served on this machine, and of the lists of ids."""

import csv
import gzip
import re
import shutil

import gemmi
import numpy as np
import pytest
from superem.core.mrc import read_mrc

from tests.training.conftest import STEP
from training import fetch, pairs
from training.density import gaussian_density
from training.structures import read_scatterers


def test_structures_and_maps_are_laid_out_as_the_trainer_reads_them(archive, lists, tmp_path, capsys):
    """Chains are selected, waters and hydrogens removed, maps cropped around their models and masked, and indices readable."""
    url, asked, _, _ = archive
    lists(["PDownB,1tst,1TST,A,160", "BM5,1TST,1TST,,500"],
          ["zoned,EMD-9,1TST,B:1-30,3.0,made up,train,yes,yes,3.0,yes,",
           "boxed,EMD-9,1TST,AB,3.0,made up too,validation,yes,yes,,no,",
           "lost,EMD-8,,A,3.0,made up,train,yes,no,,no,docked by others"])  # fmt: skip
    fetch.main(["--out", str(tmp_path / "data"), "--archive", url])
    said = capsys.readouterr().out
    assert "lost is left out: docked by others." in said
    assert "BM5 1TST has 320 atoms; the one trained on had 500." in said
    assert "PDownB 1tst has" not in said
    assert len(asked) == 2  # each file once, although several rows need it

    with open(tmp_path / "data/structures/structures.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["set"], r["name"], r["chains"], r["atoms"]) for r in rows] == [
        ("PDownB", "1tst", "1", "160"), ("BM5", "1TST", "2", "320")]  # fmt: skip
    assert len(read_scatterers(tmp_path / "data/structures/PDownB/1tst.pdb.gz")) == 160
    assert b"HOH" not in gzip.decompress((tmp_path / "data/structures/PDownB/1tst.pdb.gz").read_bytes())

    folder = tmp_path / "data/maps"
    zoned, boxed = (read_mrc(folder / name / "map.mrc.gz") for name in ("zoned", "boxed"))
    atoms = read_scatterers(folder / "zoned/model.cif.gz")
    assert len(atoms) == 120
    kji = np.argwhere(zoned.array > 0)
    distance = np.linalg.norm(zoned.positions(kji[:, ::-1])[:, None] - atoms.coordinates[None], axis=-1).min(axis=1)
    assert 2 < distance.max() <= 3
    assert zoned.array.min() == 0
    assert boxed.array.min() == pytest.approx(-0.02)
    margin = read_scatterers(folder / "boxed/model.cif.gz").coordinates.min(axis=0) - boxed.origin
    assert fetch.MARGIN - 0.01 <= margin.min() and margin.max() <= fetch.MARGIN + STEP
    # the crop is where the entry's map is: its peaks are at the atoms
    expected = gaussian_density(read_scatterers(folder / "boxed/model.cif.gz").coordinates, np.full(320, 6.5), boxed.shape, 1.2,
                                boxed.origin, boxed.step)  # fmt: skip
    assert np.corrcoef(boxed.array.ravel(), expected.ravel())[0, 1] > 0.98
    read = pairs.read_split(folder, "train")
    assert list(read) == ["zoned"]
    assert (read["zoned"].resolution, read["zoned"].group) == (3.0, "made up")
    assert list(pairs.read_split(folder, "validation")) == ["boxed"]


def test_nothing_is_fetched_twice(archive, lists, tmp_path):
    """A second run requests nothing; a row added since is fetched, and the others stay listed."""
    url, asked, _, _ = archive
    lists(["PDownB,1tst,1TST,A,160"])
    command = ["--out", str(tmp_path / "data"), "--archive", url, "--structures"]
    fetch.main(command)
    before = len(asked)
    shutil.rmtree(tmp_path / "data/downloads")
    fetch.main(command)
    assert len(asked) == before
    lists(["PDownB,1tst,1TST,A,160", "BM5,1TST,1TST,B,160"])
    fetch.main(command)
    assert len((tmp_path / "data/structures/structures.csv").read_text().splitlines()) == 3


def test_every_letter_names_a_chain(archive, lists, tmp_path):
    """Large entries may also have a chain AB, which is neither A nor B."""
    url, _, _, files = archive
    address = next(k for k in files if k.endswith("cif.gz"))
    structure = gemmi.make_structure_from_block(gemmi.cif.read_string(gzip.decompress(files[address]).decode())[0])
    structure[0][1].name = "AB"
    files[address] = gzip.compress(structure.make_mmcif_document().as_string().encode())
    lists(["PDownB,1tst,1TST,AB,160"])
    fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--structures"])
    assert len(read_scatterers(tmp_path / "data/structures/PDownB/1tst.pdb.gz")) == 160


def test_a_model_that_lies_elsewhere_is_refused(archive, lists, tmp_path, capsys):
    """Map and model are compared before the pair is listed."""
    url, _, _, files = archive
    address = next(k for k in files if k.endswith("cif.gz"))
    structure = gemmi.make_structure_from_block(gemmi.cif.read_string(gzip.decompress(files[address]).decode())[0])
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(3, 5, -4)))
    files[address] = gzip.compress(structure.make_mmcif_document().as_string().encode())
    lists(maps=["a,EMD-9,1TST,A,3.0,made up,train,yes,yes,,no,"])
    with pytest.raises(SystemExit):
        fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--maps"])
    assert "1TST does not lie on EMD-9" in capsys.readouterr().out
    assert not (tmp_path / "data/maps/pairs.csv").exists()


def test_the_lists_name_every_entry_and_what_the_trainer_leaves_out():
    """The committed lists are well formed, have no duplicates, and mark as unused exactly what the trainer does not use."""
    rows = fetch._listed("maps.csv")
    assert {r["id"] for r in rows if r["used"] == "no"} == set(pairs.HOMOLOGUES) | set(pairs.POOR_MODELS)
    for r in rows:
        assert r["split"] in ("train", "validation")
        assert re.fullmatch(r"EMD-\d{4,5}", r["emdb"]) or r["fetch"] == "no"
        assert re.fullmatch(r"[0-9][A-Z0-9]{3}", r["pdb"]) or r["fetch"] == "no"
        assert r["note"] or r["fetch"] == "yes"
    train, validation = ({r["group"] for r in rows if (r["split"], r["used"]) == (s, "yes")} for s in ("train", "validation"))
    assert not train & validation
    structures = fetch._listed("structures.csv")
    assert len(structures) == len({(r["set"], r["name"]) for r in structures}) > 1500
    assert all(re.fullmatch(r"[0-9][A-Z0-9]{3}", r["pdb"]) and int(r["atoms"]) > 0 for r in structures)
