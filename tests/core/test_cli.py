"""Tests of the command line, run as a separate process or, where only its results matter, by its entry point."""

import gzip
import hashlib
import json
import re
import sys

import mrcfile
import numpy as np
import pytest
import torch
from superem.core.mrc import read_mrc, write_mrc
from superem.core.resample import resample
from superem.nets import store


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_map_in_map_out(folder, density, weights, run):
    code, out, err = run(folder, "in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--json", "run.json",
                         "--level", "0.3")
    assert code == 0, err
    assert names(folder) == ["in.mrc", "out.mrc", "run.json"]
    wanted, found = resample(density), read_mrc(folder / "out.mrc")
    assert found.origin == wanted.origin and found.step == (1, 1, 1)
    assert np.abs(found.array - wanted.array).max() < 0.02
    with mrcfile.open(folder / "out.mrc") as file:
        labels = b"\n".join(file.header.label).decode()
    sha = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "a model's estimate" in labels and "model tiny" in labels and sha[:16] in labels and "in.mrc" in labels

    lines = out.splitlines()
    assert len(lines) == 3
    assert "Model tiny on CPU" in lines[0] and "Level 0.3 of the input" in lines[1] and "Wrote out.mrc" in lines[2]
    shown = err.splitlines()  # lines for a log, not a progress bar
    assert shown[0] == "in.mrc: 0 of 8 tiles" and shown[-1] == "in.mrc: 8 of 8 tiles, finishing" and "\r" not in err

    record = json.loads((folder / "run.json").read_text())
    assert record["weights_sha256"] == sha and record["model"] == "tiny"
    assert record["input_sha256"] == hashlib.sha256((folder / "in.mrc").read_bytes()).hexdigest()
    assert "refine" in record["caution"] and record["tiling"]["margin"] == 4
    levels = record["levels"]
    assert levels["input_volume"] == pytest.approx(4 / 3 * np.pi * (4 * np.sqrt(2 * np.log(1 / 0.3))) ** 3, rel=0.03)
    assert levels["output_volume"] == pytest.approx(levels["input_volume"], rel=0.01)


def test_levels_are_told_with_the_digits_that_count(folder, call, density, weights):
    """For a map with values around 1000, a level rounded to four digits would enclose everything."""
    density.array[:] += 1000
    write_mrc(folder / "far.mrc", density)
    out = call("far.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--level", 1000.3)[1]
    assert "Level 1000.3 of the input" in out
    assert float(re.search(r"level (\S+) of the output", out)[1]) == pytest.approx(1000.3, abs=0.05)


def test_level_that_is_not_given(folder, call, density, weights):
    """It lies above an empty background, even if less than 1 % of the box is density, and below densities that are cut off."""
    few, cut_off = np.where(density.array > 0.9, density.array, 0), np.minimum(density.array, 0.1)
    for array, low, high, most in [(few, 0, 0.001, 80), (cut_off, 0.0999, 0.1, 1900)]:
        write_mrc(folder / "made.mrc", type(density)(array, step=density.step))
        out = call("made.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--overwrite")[1]
        level, volume = re.search(r"Level (\S+) of the input encloses (\S+) ", out).groups()
        assert low < float(level) < high and 0.5 * most < float(volume.replace(",", "")) < 1.1 * most


def test_map_of_reliability(folder, call, weights):
    """It has the output's grid and describes itself; the record names it; it must not be the output itself."""
    assert call("in.mrc", "out.mrc", "--model", weights, "--reliability", "q.mrc", "--json", "run.json")[0] == 0
    out, q = read_mrc(folder / "out.mrc"), read_mrc(folder / "q.mrc")
    assert (q.shape, q.origin, q.step) == (out.shape, out.origin, out.step)
    assert q.array[0, 0, 0] < 0.1 and q.array.max() == pytest.approx(0.7)
    with mrcfile.open(folder / "q.mrc") as file:
        assert b"Q-score expected" in file.header.label[0] and b"model tiny" in file.header.label[1]
    assert json.loads((folder / "run.json").read_text())["reliability"].endswith("q.mrc")
    assert call("in.mrc", "new.mrc", "--model", weights, "--reliability", "new.mrc")[0] == 2
    assert call("in.mrc", "new.mrc", "--model", weights, "--reliability", "q.txt")[0] == 2


def test_own_results_are_not_taken_for_original_maps(folder, call, weights):
    """As when a loop over *.mrc is run twice: a super-resolved map gets a warning, expected Q-scores are refused."""
    options = ("--model", weights, "--device", "cpu")
    assert "super-resolved" not in call("in.mrc", "out.mrc", *options, "--reliability", "q.mrc")[2]
    (folder / "out.mrc.gz").write_bytes(gzip.compress((folder / "out.mrc").read_bytes()))
    for name in ("out.mrc", "out.mrc.gz"):
        code, _, err = call(name, "new.mrc", *options, "--overwrite")
        assert code == 0 and err.startswith(f"superem: {name} is itself a super-resolved map"), err
    code, _, err = call("q.mrc", "twice.mrc", *options)
    assert code == 1 and err == "superem: q.mrc holds the Q-score to expect, not density; give the original map.\n"


def test_results_that_chimerax_saved_are_known_by_their_names(folder, call, weights):
    """ChimeraX writes none of our labels into a file, but proposes a name that tells."""
    for name in ("x_superem.mrc", "x_superem_expected_Q.mrc"):
        (folder / name).write_bytes((folder / "in.mrc").read_bytes())
    code, _, err = call("x_superem.mrc", "new.mrc", "--model", weights, "--device", "cpu")
    assert code == 0 and err.startswith("superem: x_superem.mrc is itself a super-resolved map")
    code, _, err = call("x_superem_expected_Q.mrc", "twice.mrc", "--model", weights)
    assert code == 1 and "holds the Q-score to expect, not density" in err


def test_progress_within_a_tile_and_time_left(call, weights, monkeypatch):
    """A single tile may take minutes, so the progress bar advances with each layer."""
    monkeypatch.setattr("superem.meter.Meter.every", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("superem.meter.MIN_SECONDS", 0)
    code, out, err = call("in.mrc", "out.mrc", "--model", weights, "--voxel-size", 0.7, "--device", "cpu")
    assert code == 0 and "1 of 1 tiles" in out
    shown = [int(share) for share in re.findall(r"(\d+)%\|", err)]
    assert shown == sorted(shown) and shown[0] == 0 and shown[-1] == 100
    assert len({share for share in shown if 0 < share < 99}) > 5
    assert re.search(r"in.mrc: 0 of 1 tile, \d+:\d\d left", err) and "1 of 1 tile, finishing" in err


def test_gzip_in_and_the_input_s_grid_out(folder, call, density, weights):
    (folder / "in.map.gz").write_bytes(gzip.compress((folder / "in.mrc").read_bytes()))
    code, _, err = call("in.map.gz", "out.mrc", "--model", weights, "--grid", "input", "--rotations", 4,
                       "--tiling", "fast", "--batch-size", 2, "--device", "cpu")
    assert code == 0, err
    found = read_mrc(folder / "out.mrc")
    assert found.shape == density.shape and found.step == pytest.approx(density.step)
    assert found.origin == pytest.approx(density.origin)


def test_voxel_size_of_the_user_s(folder, call, weights):
    code, _, err = call("in.mrc", "out.mrc", "--model", weights, "--voxel-size", 1.0, "--device", "cpu")
    assert code == 0, err
    assert read_mrc(folder / "out.mrc").shape == (28, 30, 33)


def test_bad_input_is_one_sentence_and_exit_code_1(folder, call, weights, density):
    (folder / "cut.mrc").write_bytes((folder / "in.mrc").read_bytes()[:2000])
    density.array[0, 0, 0] = np.inf
    write_mrc(folder / "inf.mrc", density)
    before = names(folder)
    for arguments, words in [
        (("cut.mrc", "out.mrc", "--model", weights), "cut short"),
        (("inf.mrc", "out.mrc", "--model", weights), "not finite numbers (NaN or infinite) in 1 of 27,720 voxels"),
        (("none.mrc", "out.mrc", "--model", weights), "There is no file"),
        (("in.mrc", "none/out.mrc", "--model", weights), "cannot be written"),
        (("in.mrc", "o" * 300 + ".mrc", "--model", weights), "too long"),
        (("in.mrc", "out.mrc", "--json", "j" * 300, "--model", weights), "too long"),
        (("in.mrc", "out.mrc", "--model", "none"), "There is no model"),
        (("in.mrc", "out.mrc", "--model", "in.mrc"), "not a SuperEM weights file"),
        (("in.mrc", "out.mrc", "--model", weights, "--voxel-size", "0"), "voxel size"),
        (("in.mrc", "out.mrc", "--model", weights, "--device", "cuda:77"), "was requested"),
        (("in.mrc", "out.mrc", "--model", weights, "--level", "1.5"), "lies between 0 and "),
        (("in.mrc", "out.mrc", "--model", weights, "--level", "0"), "lies between 0 and "),
        (("in.mrc", "out.mrc", "--model", weights, "--level", "-1e-3"), "no contour at level -0.001"),
        (("in.mrc", "out.mrc", "--model", weights, "--level", "-.5"), "no contour at level -0.5"),
    ]:
        code, out, err = call(*arguments)
        assert (code, out) == (1, "")
        said = [line for line in err.splitlines() if line.startswith("superem: ")]
        assert len(said) == 1 and words in said[0], err
    assert names(folder) == before


@pytest.mark.parametrize("order", [
    "{files[0]} {options} {files[1]}", "{options} {files[0]} {files[1]}", "{options} -- {files[0]} {files[1]}"])
def test_options_stand_anywhere(folder, call, weights, order):
    """Options may also stand between the two files, as in many cluster scripts."""
    line = order.format(files=("in.mrc", "out.mrc"), options="--model WEIGHTS --device cpu --no-skip --level 0.3")
    code, out, err = call(*(weights if word == "WEIGHTS" else word for word in line.split()))
    assert code == 0 and "Level 0.3" in out and names(folder) == ["in.mrc", "out.mrc"], err


def test_wrong_usage_is_exit_code_2(folder, call, weights):
    (folder / "out.mrc").write_text("mine")
    for arguments, words in [
        ((), "are needed"),
        (("in.mrc",), "are needed"),
        (("in.mrc", "--overwrite", "out.mrc", "new.mrc"), "unrecognized arguments: new.mrc"),
        (("in.mrc", "out.mrc"), "exists"),
        (("in.mrc", "new.map"), "end in .mrc"),
        (("in.mrc", "in.mrc", "--overwrite"), "different files"),
        (("in.mrc", "new.mrc", "--rotations", "3"), "rotations"),
        (("in.mrc", "new.mrc", "--level", "nan"), "finite number"),
        (("in.mrc", "new.mrc", "--batch-size", "0"), "0 is not a whole number of 1 or more"),
        (("in.mrc", "new.mrc", "--batch-size", "two"), "two is not a whole number of 1 or more"),
    ]:
        code, _, err = call(*arguments)
        assert code == 2 and words in err, err
    assert (folder / "out.mrc").read_text() == "mine"
    assert call("in.mrc", "out.mrc", "--overwrite", "--model", weights, "--device", "cpu")[0] == 0
    assert read_mrc(folder / "out.mrc").step == (1, 1, 1)


def test_threads_are_those_that_the_job_may_have(call, weights, monkeypatch):
    """The limit of a container may be lower than its visible processors; never more threads are used than requested."""
    try:
        for allowed, asked, used in [(2.5, 8, 2), (0.4, 8, 1), (16, 3, 3)]:
            torch.set_num_threads(asked)
            monkeypatch.setattr("superem.core.limits.processors", lambda: allowed)  # noqa: B023
            out = call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--overwrite")[1]
            assert re.search(r"on CPU, (\d+) thread", out)[1] == str(used)
    finally:
        torch.set_num_threads(1)


def test_version_and_models(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith("SuperEM ")
    code, out, _ = call("--list-models")
    assert code == 0 and len(out.splitlines()) == len(store.bundled())


def test_weights_keep_their_precision(weights):
    """The tests' network is exactly the identity, so that these tests compare only the pipeline."""
    x = torch.rand(1, 1, 9, 10, 11)
    with torch.inference_mode():
        assert torch.equal(store.load(str(weights)).network(x), x)
