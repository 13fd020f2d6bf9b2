"""Tests of the evaluation as a whole: what it writes, for made-up maps and a made-up network."""

import argparse
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from superem.core.density import DensityMap
from superem.core.mrc import read_mrc, write_mrc
from superem.core.resample import resample
from superem.nets import store

from training import evaluate as evaluation
from training.evaluate import main as evaluate
from training.metrics.atoms import Atoms
from training.metrics.cache import Cache
from training.metrics.mtriage import CctbxError
from training.predictions import Predictor


def test_mtriages_figures_are_kept_or_missed_aloud(tmp_path, monkeypatch):
    """Each method gets its own figures; without an interpreter that has cctbx, a note says that they are missing."""
    density = DensityMap(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32))
    n = np.ones(1)
    atoms = Atoms(np.full((1, 3), 4.0), np.array(["C"]), n, n, n > 0, n < 0, np.arange(1))
    given = {"input": density, "unet": DensityMap(density.array + 1)}, atoms, 4.0, Cache(tmp_path), False
    monkeypatch.setattr(evaluation, "DEFAULT_CCTBX", tmp_path / "none")
    found, notes = evaluation.measure_with_cctbx(None, *given)
    assert not found and "mtriage was not run: no interpreter" in notes[0]
    monkeypatch.setattr(evaluation, "mtriage", lambda python, maps, qscore: ({"d_fsc05": 3.0 + k} for k, _ in enumerate(maps)))
    for _ in range(2):  # the second time, from the cache
        assert evaluation.measure_with_cctbx(tmp_path, *given) == ({"input": {"d_fsc05": 3.0}, "unet": {"d_fsc05": 4.0}}, [])
        monkeypatch.setattr(evaluation, "mtriage", lambda python, maps, qscore: iter(()))


@pytest.mark.parametrize("fails", [False, True])
def test_mtriages_figures_are_of_all_maps_or_of_none(evaluated, tmp_path, monkeypatch, fails):
    """Means over only some of the maps would not be comparable; the error is reported once."""
    def stand_in(python, maps, qscore):
        for density, *_ in maps:
            if fails and density.array[0, 0, 0] == of_second[0, 0, 0]:
                raise CctbxError("it is broken.")
            yield {"d_fsc05": 3.0}

    of_second = evaluation.read_cases(evaluated)[1].density.array
    monkeypatch.setattr(evaluation, "mtriage", stand_in)
    copy = tmp_path / "cache"
    shutil.copytree(evaluated / "cache", copy)
    evaluate(["--data", str(evaluated), "--cctbx", str(tmp_path), "--cache", str(copy), "--json", str(tmp_path / "a.json")])
    outcome = json.loads((tmp_path / "a.json").read_text())
    assert outcome["notes"] == (["mtriage was not run: it is broken."] if fails else [])
    assert [figures["input"].get("d_fsc05") for figures in outcome["maps"].values()] == 2 * [None if fails else 3.0]


def test_maps_are_measured_alike_at_the_same_time(evaluated, tmp_path):
    """Several processes write the same results, in the same order, as one."""
    evaluate(["--data", str(evaluated), "--models", str(evaluated / "small.safetensors"), "--fast", "--controls", "--jobs", "2",
              "--cache", str(evaluated / "cache"), "--json", str(tmp_path / "evaluation.json")])
    assert (tmp_path / "evaluation.json").read_text() == (evaluated / "evaluation.json").read_text()


def test_baselines_alone_have_no_gains_and_no_bars(evaluated, capsys):
    evaluate(["--data", str(evaluated), "--fast", "--cache", str(evaluated / "cache")])
    printed = capsys.readouterr().out
    assert "means over 2 maps" in printed and "difference" not in printed and "bar" not in printed


def test_a_process_that_is_ended_from_outside_is_told(monkeypatch):
    """A worker process may be killed for lack of memory."""
    monkeypatch.setattr(evaluation, "_start", os._exit)
    bench = SimpleNamespace(options=argparse.Namespace(jobs=2))
    with pytest.raises(SystemExit, match="try fewer --jobs"):
        list(evaluation.measure_all([None, None], bench))


def test_the_command_gives_the_same_maps_and_blurs(evaluated, tmp_path):
    """Named maps and blurs are part of the recorded command; missing folders are created."""
    table = "[[3.0, 0.4], [5.0, 0.4]]"
    evaluate(["--data", str(evaluated), "--models", str(evaluated / "small.safetensors"), "--fast", "--ids", "6spe_r",
              "--blurs", "[]", table, "--cache", str(evaluated / "cache"), "--json", str(tmp_path / "new" / "a.json"),
              "--markdown", str(tmp_path / "newer" / "a.md")])
    outcome = json.loads((tmp_path / "new" / "a.json").read_text())
    assert f"--models small --ids 6spe_r --blurs '[]' '{table}' --fast --json build/a.json" in outcome["command"]
    assert "small, blur 2 − input: 1 map |" in (tmp_path / "newer" / "a.md").read_text()


def test_the_evaluation_names_its_weights(evaluated):
    """They are identified by what affects predictions, so that a card can be rewritten after the evaluation."""
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    predictor = Predictor(store.load(str(evaluated / "small.safetensors")), Cache(evaluated / "cache"))
    assert outcome["models"] == {"small": predictor.identity}


def test_predictions_know_how_large_a_maps_voxels_were(evaluated, tmp_path, monkeypatch):
    """The original voxel size limits the resolution of maps and their controls; their 1 Å grid does not show it."""
    seen = []
    monkeypatch.setattr(Predictor, "__call__", lambda _self, density, finest=0.0: seen.append(finest) or density)
    for name in ("map.mrc.gz", "model.cif.gz"):
        (tmp_path / "coarse").mkdir(exist_ok=True)
        shutil.copy(evaluated / "6spe_r" / name, tmp_path / "coarse" / name)
    write_mrc(tmp_path / "coarse" / "map.mrc.gz", resample(read_mrc(tmp_path / "coarse" / "map.mrc.gz"), 2.5))
    (tmp_path / "pairs.csv").write_text("id,resolution,group,split\ncoarse,4,one,validation\n")
    evaluate(["--data", str(tmp_path), "--models", str(evaluated / "small.safetensors"), "--fast", "--controls",
              "--cache", str(tmp_path / "cache")])
    assert len(seen) > 5 and set(seen) == {5.0}
