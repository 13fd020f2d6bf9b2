"""Tests of user-supplied lists of maps and structures: errors are reported in one sentence."""

import numpy as np
import pytest
from superem.core.density import DensityMap, MapError
from superem.core.mrc import write_mrc
from superem.nets.store import WeightsError

from training import pairs, pool, realism, simulate
from training.command import as_command
from training.evaluate import read_cases
from training.map_statistics import Sample
from training.reliability import read_samples

HEAD = "id,resolution,group,split\n"


def listing(folder, text):
    """Write this pairs.csv to a folder; return the folder."""
    (folder / "pairs.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_list_may_come_from_a_spreadsheet(tmp_path):
    """It may have a byte order mark, and columns that are not used."""
    rows = pairs.listed(listing(tmp_path, "\ufeffid,note,resolution,group,split\na,mine,3.5,A,train\n"))
    assert [(r["id"], r["resolution"]) for r in rows] == [("a", "3.5")]


@pytest.mark.parametrize("text, said", [
    ("id,resolution,split\na,3.5,train\n", "pairs.csv lacks the columns group."),
    (HEAD + "a,,A,train\n", "pairs.csv lacks the resolution of a:"),
    (HEAD + "a,3.5,A,validation\n", "pairs.csv has no map in the split train."),
    (HEAD + "a,3.5,A,train\nb,3.5,A,validation\n", "pairs.csv has A both in train and in validation"),
    (HEAD + "a,3.5,A,train\n", "a/map.mrc.gz is missing, though pairs.csv lists a."),
])  # fmt: skip
def test_what_is_wrong_with_train_maps_is_said(tmp_path, text, said):
    """A list that cannot be trained on is refused before anything is read."""
    with pytest.raises(SystemExit, match=said):
        pairs.read_split(listing(tmp_path, text), "train")


def test_a_protein_that_is_left_out_of_training_is_no_leak(tmp_path):
    """A map of `pairs.HOMOLOGUES` may share its protein with a validation map, since it is not trained on."""
    left_out = next(iter(pairs.HOMOLOGUES))
    folder = listing(tmp_path, f"{HEAD}{left_out},4,A,train\nc,3.5,C,train\nb,3.5,A,validation\n")
    with pytest.raises(SystemExit, match="c/map.mrc.gz is missing"):  # so the list was accepted
        pairs.read_split(folder, "train")


def test_what_is_wrong_with_validation_maps_is_said(tmp_path):
    """A missing list and a missing model are named."""
    with pytest.raises(SystemExit, match="pairs.csv is missing: it lists"):
        read_cases(tmp_path)
    folder = listing(tmp_path, HEAD + "a,3.5,A,validation\n")
    (folder / "a").mkdir()
    write_mrc(folder / "a" / "map.mrc.gz", DensityMap(np.zeros((4, 4, 4), np.float32)))
    with pytest.raises(SystemExit, match="a/model.cif.gz is missing, though pairs.csv lists a."):
        read_cases(folder)


def test_a_map_on_a_turned_grid_is_refused(tmp_path):
    """Training and metrics use only origin and voxel size, so the model would not lie on the map."""
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for rotation, refused in ((np.eye(3), False), (turned, True)):
        path = tmp_path / "map.mrc"
        write_mrc(path, DensityMap(np.zeros((4, 4, 4), np.float32), rotation=rotation))
        if refused:
            with pytest.raises(SystemExit, match="map.mrc has a rotated grid"):
                pairs.read_map(path)
        else:
            assert pairs.read_map(path).shape == (4, 4, 4)


def test_a_pool_that_is_filled_again_gets_other_pairs(tmp_path, monkeypatch):
    """Pairs differ between runs, so that resumed training sees new ones, unless a seed is given."""
    drawn = []
    monkeypatch.setattr(pool.pairs, "read_split", lambda *_: {})
    monkeypatch.setattr(pool.pairs, "stream", lambda rng, _: drawn.append(rng.integers(2**60)) or iter(()))
    for seed in ([], [], ["--seed", "3"], ["--seed", "3"]):
        pool.main(["--kind", "real", "--seconds", "0", "--pool", str(tmp_path), *seed])
    assert len(set(drawn)) == 3 and drawn[2] == drawn[3]


def test_a_curve_needs_a_second_protein(tmp_path, monkeypatch):
    """The error is raised before anything is predicted."""
    case = type("Case", (), {"group": "A"})
    monkeypatch.setattr("training.reliability.read_cases", lambda data: [case, case])
    with pytest.raises(SystemExit, match="validation maps of two proteins"):
        read_samples(tmp_path, "no such weights", [], None)


@pytest.mark.parametrize("sets, said", [({}, "those listed are of none"), ({"PDownB": [], "mine": []}, "of PDownB, mine")])
def test_a_set_that_would_never_be_drawn_is_refused(sets, said):
    """Unknown sets are refused, not silently left out."""
    with pytest.raises(SystemExit, match=said):
        next(simulate.stream(np.random.default_rng(0), sets))


def test_a_classifier_needs_four_proteins(tmp_path, monkeypatch, capsys):
    """With three proteins the table is still printed, but their halves are too small to train on."""
    sample = Sample("A", np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32), 4.0)
    monkeypatch.setattr(realism, "deposited", lambda folder: {"a": sample, "b": sample})
    monkeypatch.setattr(realism, "load_structures", lambda *paths: {})
    monkeypatch.setattr(realism, "simulated", lambda rng, sets, count: [sample] * count)
    monkeypatch.setattr(realism, "measure", lambda rng, samples, cubes: ({}, {"one": np.ones(len(samples))}, []))
    with pytest.raises(SystemExit, match="deposited maps of four proteins or more"):
        realism.main(["--data", str(tmp_path)])
    assert "one " in capsys.readouterr().out


@pytest.mark.parametrize("error, said", [
    (FileNotFoundError(2, "No such file", "build/x.json"), "There is no file build/x.json."),
    (FileNotFoundError("It is no checkout."), "It is no checkout."),
    (MapError("It is no map."), "It is no map."), (WeightsError("There is no model x."), "There is no model x."),
])  # fmt: skip
def test_a_command_ends_with_a_sentence(error, said):
    """Errors that the user can fix end in one sentence; defects of the program keep their traceback."""
    def main():
        raise error

    with pytest.raises(SystemExit) as found:
        as_command(main)
    assert str(found.value) == said
    with pytest.raises(ZeroDivisionError):
        as_command(lambda: 1 / 0)
