"""The command line: as a user starts it, in a process of its own, and by its entry point where only the answer counts."""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from superem.cli import main
from superem.core.mrc import read_mrc, write_mrc
from superem.core.resample import resample
from superem.nets import build, store

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"widths": [8, 16], "depths": [1, 1]}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Write a small network that starts as the identity."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    card = store.Card("tiny", "unet", OPTIONS, tile=32, margin=4, normalisation="robust", version="7",
                      reliability=[[0, 0], [0.1, 0.7]])
    store.save(path, build("unet", **OPTIONS), card)
    return path


@pytest.fixture
def density(make_blob):
    density = make_blob((28, 30, 33), (12.0, -6.0, 3.6), (1.2, 1.2, 1.2), (30, 11, 20), sigma=4)
    density.array[density.array < 0.01] = 0
    return density


@pytest.fixture
def folder(tmp_path, density):
    """Return a folder with in.mrc in it."""
    write_mrc(tmp_path / "in.mrc", density)
    return tmp_path


def start(folder, *arguments, **environment):
    """`python -m superem` in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, "-m", "superem", *map(str, arguments)], cwd=folder, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder, *arguments, **environment):
    """Exit code, standard output and standard error of a process that ends."""
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture
def call(folder, capsys, monkeypatch):
    """Return what calls the entry point in `folder`, with the same answer as `run`."""
    monkeypatch.chdir(folder)

    def answer(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return answer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_map_in_map_out(folder, density, weights):
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
    shown = err.splitlines()  # lines for a log, not a bar
    assert shown[0] == "in.mrc: 0 of 8 tiles" and shown[-1].startswith("in.mrc: 8 of 8 tiles") and "\r" not in err

    record = json.loads((folder / "run.json").read_text())
    assert record["weights_sha256"] == sha and record["model"] == "tiny"
    assert record["input_sha256"] == hashlib.sha256((folder / "in.mrc").read_bytes()).hexdigest()
    assert "refine" in record["caution"] and record["tiling"]["margin"] == 4
    levels = record["levels"]
    assert levels["input_volume"] == pytest.approx(4 / 3 * np.pi * (4 * np.sqrt(2 * np.log(1 / 0.3))) ** 3, rel=0.03)
    assert levels["output_volume"] == pytest.approx(levels["input_volume"], rel=0.01)


def test_levels_are_told_with_the_digits_that_count(folder, call, density, weights):
    """A level that is rounded to four digits encloses all of a map whose values lie round 1000."""
    density.array[:] += 1000
    write_mrc(folder / "far.mrc", density)
    out = call("far.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--level", 1000.3)[1]
    assert "Level 1000.3 of the input" in out
    assert float(re.search(r"level (\S+) of the output", out)[1]) == pytest.approx(1000.3, abs=0.05)


def test_map_of_reliability(folder, call, weights):
    """It lies on the output and says what it is; the record names it; it may not be the output itself."""
    assert call("in.mrc", "out.mrc", "--model", weights, "--reliability", "q.mrc", "--json", "run.json")[0] == 0
    out, q = read_mrc(folder / "out.mrc"), read_mrc(folder / "q.mrc")
    assert (q.shape, q.origin, q.step) == (out.shape, out.origin, out.step)
    assert q.array[0, 0, 0] < 0.1 and q.array.max() == pytest.approx(0.7)
    with mrcfile.open(folder / "q.mrc") as file:
        assert b"Q-score expected" in file.header.label[0] and b"model tiny" in file.header.label[1]
    assert json.loads((folder / "run.json").read_text())["reliability"].endswith("q.mrc")
    assert call("in.mrc", "new.mrc", "--model", weights, "--reliability", "new.mrc")[0] == 2
    assert call("in.mrc", "new.mrc", "--model", weights, "--reliability", "q.txt")[0] == 2


def test_progress_within_a_tile_and_time_left(call, weights, monkeypatch):
    """A single tile may take minutes: the bar moves at each of its layers."""
    monkeypatch.setattr("superem.meter.Meter.every", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("superem.meter.TELLING", 0)
    code, out, err = call("in.mrc", "out.mrc", "--model", weights, "--voxel-size", 0.7, "--device", "cpu")
    assert code == 0 and "1 of 1 tiles" in out
    shown = [int(share) for share in re.findall(r"(\d+)%\|", err)]
    assert shown == sorted(shown) and shown[0] == 0 and shown[-1] == 100
    assert len({share for share in shown if 0 < share < 99}) > 5
    assert re.search(r"in.mrc: 0 of 1 tile, \d+:\d\d left", err) and "1 of 1 tile, 0:00 left" in err


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
        (("inf.mrc", "out.mrc", "--model", weights), "not finite"),
        (("none.mrc", "out.mrc", "--model", weights), "There is no file"),
        (("in.mrc", "none/out.mrc", "--model", weights), "cannot be written"),
        (("in.mrc", "o" * 300 + ".mrc", "--model", weights), "too long"),
        (("in.mrc", "out.mrc", "--json", "j" * 300, "--model", weights), "too long"),
        (("in.mrc", "out.mrc", "--model", "none"), "There is no model"),
        (("in.mrc", "out.mrc", "--model", "in.mrc"), "not a SuperEM weights file"),
        (("in.mrc", "out.mrc", "--model", weights, "--voxel-size", "0"), "voxel size"),
        (("in.mrc", "out.mrc", "--model", weights, "--device", "cuda:77"), "was asked for"),
        (("in.mrc", "out.mrc", "--model", weights, "--level", "1.5"), "lies between 0 and "),
    ]:
        code, out, err = call(*arguments)
        assert (code, out) == (1, "")
        said = [line for line in err.splitlines() if line.startswith("superem: ")]
        assert len(said) == 1 and words in said[0], err
    assert names(folder) == before


def test_wrong_usage_is_exit_code_2(folder, call, weights):
    (folder / "out.mrc").write_text("mine")
    for arguments, words in [
        ((), "are needed"),
        (("in.mrc",), "are needed"),
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


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are bytes on Linux only")
def test_names_and_terminals_that_know_no_unicode(folder, weights):
    """An hour's work must not end in an error because its last line cannot be shown, or its name cannot be told."""
    name = os.fsdecode("Karte Å ".encode() + b"\xff.mrc")
    (folder / "in.mrc").rename(folder / name)
    code, out, err = run(folder, name, "out.mrc", "--model", weights, "--json", "run.json", PYTHONIOENCODING="ascii")
    assert code == 0 and "1 x 1 x 1 ?" in out, err
    assert json.loads((folder / "run.json").read_text("utf-8"))["input"] == name


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links(folder, call, weights):
    """A link to the input is not overwritten as another file would be; one that leads nowhere is no file."""
    (folder / "link.mrc").symlink_to("in.mrc")
    (folder / "loop.mrc").symlink_to("loop.mrc")
    assert call("in.mrc", "link.mrc", "--overwrite", "--model", weights)[0] == 2
    code, _, err = call("loop.mrc", "out.mrc", "--model", weights)
    assert code == 1 and "loop.mrc cannot be read" in err
    assert call("link.mrc", "out.mrc", "--model", weights, "--device", "cpu")[0] == 0


@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_leaves_nothing(folder, density, weights, sent, code):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored in tests that a shell runs in the background
    rng = np.random.default_rng(0)
    write_mrc(folder / "in.mrc", type(density)(rng.normal(size=(90, 90, 90))))  # half a minute's work
    process = start(folder, "in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--tiling", "paper",
                    "--no-skip")
    seen = ""
    while "tiles" not in seen:  # the work has begun
        assert process.poll() is None, seen
        seen += process.stderr.read(1)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err and names(folder) == ["in.mrc"]


def test_version_and_models(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith("SuperEM ")
    code, out, _ = call("--list-models")
    assert code == 0 and len(out.splitlines()) == len(store.bundled())


def test_weights_keep_their_precision(weights):
    """The test's network is the identity: what these tests compare is the pipeline alone."""
    x = torch.rand(1, 1, 9, 10, 11)
    with torch.inference_mode():
        assert torch.equal(store.load(str(weights)).network(x), x)
