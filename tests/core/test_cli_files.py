"""Tests of the command line with real files, disks, logs and signals."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from superem.core import predict
from superem.core.density import MapError
from superem.core.mrc import read_mrc, write_mrc
from superem.core.resample import resample
from superem.outputs import written

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are bytes on Linux only")
def test_names_and_terminals_that_know_no_unicode(folder, weights, run):
    """An hour's work must not end in an error because a line or a name cannot be printed."""
    name = os.fsdecode("Karte Å ".encode() + b"\xff.mrc")
    (folder / "in.mrc").rename(folder / name)
    code, out, err = run(folder, name, "out.mrc", "--model", weights, "--json", "run.json", PYTHONIOENCODING="ascii")
    assert code == 0 and "1 x 1 x 1 ?" in out, err
    assert json.loads((folder / "run.json").read_text("utf-8"))["input"] == name


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links(folder, call, weights):
    """A link to the input is not overwritten; a link that leads nowhere is not a readable file."""
    (folder / "link.mrc").symlink_to("in.mrc")
    (folder / "loop.mrc").symlink_to("loop.mrc")
    assert call("in.mrc", "link.mrc", "--overwrite", "--model", weights)[0] == 2
    code, _, err = call("loop.mrc", "out.mrc", "--model", weights)
    assert code == 1 and "loop.mrc cannot be read" in err
    assert call("link.mrc", "out.mrc", "--model", weights, "--device", "cpu")[0] == 0
    (folder / "second.mrc").hardlink_to(folder / "in.mrc")  # like a name in other letter case on a Mac
    assert call("in.mrc", "second.mrc", "--overwrite", "--model", weights)[0] == 2


def test_the_model_is_not_replaced(folder, call, weights):
    (folder / "w.safetensors").write_bytes(weights.read_bytes())
    code, _, err = call("in.mrc", "out.mrc", "--model", "w.safetensors", "--json", "w.safetensors", "--overwrite")
    assert code == 2 and "input, model, outputs and report must be different files" in err


def test_a_protected_file_is_not_replaced(folder, call, weights, monkeypatch):
    """On Windows, that would fail after the work; elsewhere it would work, but the file is protected for a reason."""
    (folder / "out.mrc").write_text("precious")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write to every file
    code, _, err = call("in.mrc", "out.mrc", "--model", weights, "--overwrite")
    assert (code, err) == (1, "superem: out.mrc cannot be written (it is write-protected).\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be deleted there")
def test_working_folder_that_is_deleted(folder, call, weights, tmp_path_factory, monkeypatch):
    """Before the work: one sentence; during the work: the result is kept elsewhere."""
    temporary, here = tmp_path_factory.mktemp("temporary"), folder / "here"
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    here.mkdir()
    monkeypatch.chdir(here)
    enhance = predict.enhance

    def delete_and_enhance(*arguments, **more):
        here.rmdir()
        return enhance(*arguments, **more)

    monkeypatch.setattr("superem.core.predict.enhance", delete_and_enhance)
    arguments = (folder / "in.mrc", "out.mrc", "--model", weights, "--device", "cpu")
    code, _, err = call(*arguments)
    assert code == 1 and "out.mrc cannot be written (No such file or directory); it is kept as" in err
    assert read_mrc(next(temporary.glob("superem-kept-*/out.mrc"))).step == (1, 1, 1)
    code, _, err = call(*arguments)
    assert (code, err) == (1, "superem: The working folder does not exist any more; change to another one first.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_for_the_output(folder, call, weights):
    """The file that a link points to is written; what is neither a file nor a link to one is not touched."""
    (folder / "scratch").mkdir()
    (folder / "out.mrc").symlink_to("scratch/there.mrc")
    for more in ((), ("--overwrite",)):
        assert call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", *more)[0] == 0
        assert (folder / "out.mrc").is_symlink() and read_mrc(folder / "scratch" / "there.mrc").step == (1, 1, 1)
    assert names(folder / "scratch") == ["there.mrc"]
    os.mkfifo(folder / "pipe")
    code, _, err = call("in.mrc", "new.mrc", "--json", "pipe", "--overwrite", "--model", weights)
    assert code == 1 and "it is no file" in err and (folder / "pipe").is_fifo()


@pytest.mark.parametrize("sent, code, unbuffered", [
    ("SIGINT", -2, ""), ("SIGINT", -2, "1"), ("SIGTERM", 143, ""), ("SIGHUP", 129, "")])
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_leaves_nothing(folder, density, weights, monkeypatch, sent, code, unbuffered, start):
    """Ctrl-C ends the process by the signal itself; otherwise a shell's loop over maps would continue with the next map.

    Earlier messages are still printed, also if Python does not buffer, as in many containers.
    """
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    sent = getattr(signal, sent)
    if signal.getsignal(sent) == signal.SIG_IGN:  # if the tests run in the background of a shell, or under nohup
        signal.signal(sent, signal.default_int_handler)
    rng = np.random.default_rng(0)
    write_mrc(folder / "in.mrc", type(density)(rng.normal(size=(90, 90, 90))))  # takes half a minute
    process = start(folder, "in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--tiling", "paper",
                    "--no-skip")
    seen = ""
    while "tiles" not in seen:  # until the work has begun
        assert process.poll() is None, seen
        seen += process.stderr.read(1)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err and names(folder) == ["in.mrc"]
    assert sent != signal.SIGINT or "no file is left half written" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_while_libraries_are_imported(folder, weights, start):
    """There is no traceback; the import of a library that takes long, here one in its place, is interrupted."""
    (folder / "stand_in").mkdir()
    (folder / "stand_in" / "tqdm.py").write_text(
        "import sys, time; print('importing', file=sys.stderr, flush=True); time.sleep(30)")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(folder, "in.mrc", "out.mrc", "--model", weights, PYTHONPATH=f"{folder / 'stand_in'}:{ROOT}")
    assert process.stderr.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "") and process.returncode == -signal.SIGINT


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_nohup(folder, weights, start):
    """A closed terminal does not end a run that was told to ignore this."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(folder, "in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--rotations", "24")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "tiles" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and names(folder) == ["in.mrc", "out.mrc"], err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk to write to is a device of Linux")
def test_log_that_cannot_be_written(folder, weights):
    """A log on a full disk, or a closed pipe, must not cost the map."""
    command = f"{sys.executable} -m superem in.mrc out.mrc --model {weights} --device cpu"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for streams in (">/dev/full 2>&1", "2>&- | true"):
        process = subprocess.run(["bash", "-c", f"{command} {streams}; exit $PIPESTATUS"], cwd=folder, env=environment,
                                 timeout=120, capture_output=True, text=True)
        assert process.returncode == 0 and "Error" not in process.stderr, process.stderr
        assert read_mrc(folder / "out.mrc").step == (1, 1, 1), streams
        (folder / "out.mrc").unlink()


def test_no_room_for_the_result_is_told_before_the_work(folder, call, weights, monkeypatch):
    """Both maps must fit if they go to the same disk; a system that does not report its disk space is not checked."""
    size = 4 * resample(read_mrc(folder / "in.mrc")).array.size

    def disk(total, free):
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=total, free=free))

    disk(100 * size, 3 * size // 2)
    assert call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu")[0] == 0
    disk(0, 0)
    assert call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--overwrite")[0] == 0
    monkeypatch.setattr("superem.core.predict.enhance", None)
    disk(100 * size, 3 * size // 2)
    code, _, err = call("in.mrc", "new.mrc", "--model", weights, "--device", "cpu", "--reliability", "q.mrc")
    assert code == 1 and "new.mrc cannot be written: " in err and " MB are free in " in err


def test_disk_that_fills_up_during_the_work(folder, call, weights, tmp_path_factory, monkeypatch):
    """Files that cannot be written to their place are kept elsewhere; the others are in place, and the level is reported."""
    temporary, here = tmp_path_factory.mktemp("temporary"), folder.resolve()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    full = {here}

    def to_disk(place, source, target):
        if any(folder in Path(target).parents and Path(target).name != "q.mrc" for folder in full):
            raise OSError(errno.ENOSPC, "No space left on device")
        place(source, target)

    for name in ("link", "replace"):
        monkeypatch.setattr(f"os.{name}", partial(to_disk, getattr(os, name)))
    arguments = ("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--reliability", "q.mrc", "--json", "run.json")
    code, out, err = call(*arguments)
    kept = sorted(temporary.glob("superem-kept-*/*"), key=lambda path: path.name)
    assert [path.name for path in kept] == ["out.mrc", "run.json"] and code == 1
    assert f"out.mrc cannot be written (No space left on device); it is kept as {kept[0]}." in err and str(kept[1]) in err
    assert f"Wrote {kept[0]}" in out and "Level " in out and "Traceback" not in err
    assert read_mrc(kept[0]).array.max() > 0.5 and json.loads(kept[1].read_text())["output"] == str(kept[0])
    assert names(folder) == ["in.mrc", "q.mrc"]

    full.add(temporary.resolve())
    (folder / "q.mrc").unlink()
    code, out, err = call(*arguments)
    assert code == 1 and "it could not be kept anywhere else" in err and "Wrote" not in out
    assert names(folder) == ["in.mrc", "q.mrc"] and names(temporary) == sorted(path.parent.name for path in kept)


def test_interrupted_while_a_result_is_kept(tmp_path, monkeypatch):
    """Ctrl-C leaves no empty folder behind."""
    monkeypatch.chdir(tmp_path)

    def write(path):
        raise KeyboardInterrupt if path.parent.name.startswith("superem-kept-") else MapError("full")

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "out.mrc", write)
    assert names(tmp_path) == []


def no_memory(*_):
    raise MemoryError


def test_memory_that_is_short_after_the_work(folder, call, weights, monkeypatch):
    """Without memory to match the levels, map and report are written; without memory to write, there is no traceback."""
    arguments = ("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--json", "run.json", "--level", "0.3")
    with monkeypatch.context() as patch:
        patch.setattr("superem.cli.level_for_surface", no_memory)
        code, out, err = call(*arguments)
    assert code == 0 and "memory is too short to find the contour level" in err
    assert "Level 0.3 of the input encloses" in out and "of the output encloses" not in out
    levels = json.loads((folder / "run.json").read_text())["levels"]
    assert levels["input_level"] == 0.3 and levels["input_volume"] > 0
    assert levels["output_level"] is levels["output_volume"] is None and read_mrc(folder / "out.mrc").step == (1, 1, 1)

    monkeypatch.setattr("superem.core.mrc._NewFile.update_header_stats", no_memory)
    code, _, err = call(*arguments, "--overwrite")
    assert code == 1 and "out.mrc cannot be written (memory is short)" in err
    assert json.loads((folder / "run.json").read_text())["output"] is None


def test_memory_that_is_short_before_the_work(call, weights, monkeypatch):
    monkeypatch.setattr("superem.cli.surface_volume", no_memory)
    code, out, err = call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu")
    assert (code, out, err) == (1, "", "superem: memory is short; close other programs, or cut a part out of the map first.\n")


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_during_the_work(folder, call, weights, monkeypatch, links):
    """Without --overwrite, it stays as it is; the result is kept beside it, on a file system without hard links, too."""
    enhance = predict.enhance

    def enhance_and_write(*arguments, **more):
        for name in ("out.mrc", "run.json"):
            (folder / name).write_text("precious")
        return enhance(*arguments, **more)

    monkeypatch.setattr("superem.core.predict.enhance", enhance_and_write)
    if not links:
        monkeypatch.setattr("os.link", no_links)
    arguments = ("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--reliability", "q.mrc", "--json", "run.json")
    code, _, err = call(*arguments)
    assert code == 1 and "out.mrc cannot be written (File exists); it is kept as " in err, err
    assert (folder / "out.mrc").read_text() == (folder / "run.json").read_text() == "precious"
    assert read_mrc(next(folder.glob("superem-kept-*/out.mrc"))).array.max() > 0.5
    assert json.loads(next(folder.glob("superem-kept-*/run.json")).read_text())["output"].endswith("out.mrc")
    assert read_mrc(folder / "q.mrc").step == (1, 1, 1)
    assert call(*arguments, "--overwrite")[0] == 0 and read_mrc(folder / "out.mrc").step == (1, 1, 1)


def no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_input_that_goes_away_during_the_work(folder, call, weights, monkeypatch):
    """A temporary input may be deleted during the run; the checksum is that of the data that were read."""
    sha, enhance = hashlib.sha256((folder / "in.mrc").read_bytes()).hexdigest(), predict.enhance

    def remove_and_enhance(*arguments, **more):
        (folder / "in.mrc").unlink()
        return enhance(*arguments, **more)

    monkeypatch.setattr("superem.core.predict.enhance", remove_and_enhance)
    assert call("in.mrc", "out.mrc", "--model", weights, "--device", "cpu", "--json", "run.json")[0] == 0
    assert json.loads((folder / "run.json").read_text())["input_sha256"] == sha
