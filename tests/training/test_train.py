"""Tests of the losses and the trainer, on data made here."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from superem.nets import store

from superem import nets
from training import pool
from training.card import trained
from training.export import export, export_again
from training.losses import BLUR, content, shell_disagreement
from training.run import Run
from training.train import main, parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("n", [16, 25])
def test_content_is_the_squared_error_and_twice_the_blurred_one(n):
    """The loss agrees with scipy's Gaussian blur, for even and odd tile sizes."""
    rng = np.random.default_rng(0)
    sr, hr = (ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 1, mode="wrap") for _ in range(2))
    blurred = ndimage.gaussian_filter(sr - hr, BLUR, mode="wrap", truncate=8)
    expected = ((sr - hr) ** 2).mean() + 2 * (blurred**2).mean()
    a, b = (torch.from_numpy(x.astype(np.float32))[None, None] for x in (sr, hr))
    assert float(content(a, b, torch.ones_like(a))) == pytest.approx(expected, rel=0.02)


def test_what_is_not_trusted_costs_nothing():
    """Neither loss depends on voxels that are not trusted."""
    torch.manual_seed(0)
    hr, trusted = torch.rand(1, 1, 16, 16, 16), torch.ones(1, 1, 16, 16, 16)
    sr = hr.clone()
    sr[..., :4] += 5
    trusted[..., :4] = 0
    assert float(content(sr, hr, trusted)) == pytest.approx(0, abs=1e-10)
    assert float(shell_disagreement(sr, hr, trusted, torch.tensor([3.0]))) == pytest.approx(0, abs=1e-3)


def test_the_shell_loss_ignores_filters_and_punishes_noise():
    """It is zero for a scaled copy, and near one for an unrelated map."""
    torch.manual_seed(0)
    hr, ones = torch.randn(2, 1, 24, 24, 24), torch.ones(2, 1, 24, 24, 24)
    assert float(shell_disagreement(3 * hr, hr, ones, torch.full((2,), 3.0))) == pytest.approx(0, abs=1e-3)
    assert float(shell_disagreement(torch.randn_like(hr), hr, ones, torch.full((2,), 3.0))) > 0.8


def test_the_shell_loss_counts_most_at_a_maps_own_resolution():
    """Errors at 4 to 2.4 Å matter for a 3 Å map, errors at 16 to 6 Å for an 8 Å map."""
    torch.manual_seed(0)
    n, ones = 32, torch.ones(1, 1, 32, 32, 32)
    hr, other = torch.randn(2, 1, 1, n, n, n)
    full = torch.fft.fftfreq(n)
    radius = (full[:, None, None] ** 2 + full[:, None] ** 2 + torch.fft.rfftfreq(n) ** 2).sqrt() * n

    def cost(first, last, resolution):
        wrong = (radius > first - 0.5) & (radius < last + 0.5)
        spectrum = torch.where(wrong, torch.fft.rfftn(other, dim=(-3, -2, -1)), torch.fft.rfftn(hr, dim=(-3, -2, -1)))
        return float(shell_disagreement(torch.fft.irfftn(spectrum, (n, n, n)), hr, ones, torch.tensor([resolution])))

    assert cost(8, 13, 3.0) > 3 * cost(2, 5, 3.0)
    assert cost(2, 5, 8.0) > 3 * cost(8, 13, 8.0)


@pytest.fixture
def settings(filled_pool):
    """Options of a run that trains a small network."""
    return ["--name", "tiny", "--pool", str(filled_pool), "--real", "0", "--options", '{"widths": [16, 16], "depths": [1, 1]}',
            "--size", "24", "--batch", "2"]


@pytest.fixture
def train_in(settings, monkeypatch, capsys):
    """Return a function that runs the trainer in a folder, with further options, and returns what it prints."""
    def train_in(folder, *extra, given=settings):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        main([*given, *extra])
        return capsys.readouterr().out

    return train_in


def test_a_run_learns_stops_and_goes_on(tmp_path, filled_pool, settings, train_in):
    """A run learns to halve the density; a second session resumes it; the result can be exported and loaded."""
    shard = filled_pool / "simulated-00000.npz"
    pool.write_shard(shard, [replace(pair, hr=pair.lr / 2) for pair in pool.read_shard(shard)])
    often = ("--report", "20", "--rate", "1e-3", "--warm-up", "10", "--clip", "1")
    first = train_in(tmp_path, "--steps", "40", "--hours", "0.5", *often)
    second = train_in(tmp_path, "--steps", "20", *often, "--batch", "1")
    reported = [line for line in (first + second).splitlines() if line.startswith("step")]
    losses = [float(line.split("content ")[1].split()[0]) for line in reported]
    assert len(losses) == 3 and "step 60" in second
    assert second.splitlines()[-1].startswith("runs/tiny/state.pt: 60 steps, ")
    assert losses[-1] < losses[0] / 2
    assert "of 0.5 hours" in first and "of 0.5 hours" in second  # hours are kept until they are given again
    out = tmp_path / "tiny.safetensors"
    card = export(tmp_path / "runs" / "tiny", out, name="tiny", tile=32, margin=4)
    assert card.training["steps"] == 60 and card.training["voxels"] == (40 * 2 + 20) * 24**3
    assert store.load(str(out)).card == card
    before = store.load(str(out)).network.state_dict()
    again = export_again(out, out, summary="New words.", blur=[[3.0, 0.5]])
    after = store.load(str(out))
    assert after.card == again and (again.summary, again.name, again.tile) == ("New words.", "tiny", 32)
    assert all(torch.equal(value, before[name]) for name, value in after.network.state_dict().items())
    elsewhere = tmp_path / "elsewhere"
    third = train_in(elsewhere, "--steps", "2", "--report", "1", "--start-from", str(out))
    assert float(third.split("content ")[1].split()[0]) < 1.5 * losses[0]
    out.unlink()  # not needed to resume, and the card still names it
    short = [*settings[:6], "--steps", "1", "--report", "1", "--rate", "1e-5"]
    fourth = train_in(elsewhere, given=short)
    assert fourth.startswith("runs/tiny continues with other settings: --rate 1e-05 (was 0.0004)\n")
    card = export(elsewhere / "runs/tiny", out, name="tiny", tile=32, margin=4)
    assert (card.training["steps"], card.training["batch"], card.training["tile_edge"]) == (3, 2, 24)
    assert card.training["start_from"] == str(out) and f"started from {out}" in trained(card.training)
    for option, value, was in (("adversarial", "0.001", "0.0"), ("optimiser", "muon", "adam")):
        with pytest.raises(SystemExit) as refused:
            train_in(elsewhere, f"--{option}", value, given=short)
        assert str(refused.value) == (f"runs/tiny holds another run: --{option} {value} (was {was})."
                                      " Use the earlier settings, or another --name.")


@pytest.fixture
def run(settings, tmp_path, monkeypatch):
    """A run before its first step."""
    monkeypatch.chdir(tmp_path)
    return Run(*parse([*settings, "--rate", "8e-4", "--warm-up", "4", "--hours", "2"]))


@pytest.mark.parametrize("step, hours, share", [
    (0, 0, 0.25), (1, 0, 0.5), (3, 0, 1), (9, 0, 1), (9, 0.5, 0.5 + 0.5**1.5), (9, 1, 0.5), (1, 1, 0.25), (9, 2, 0), (9, 3, 0)])
def test_the_rate_rises_by_steps_and_falls_by_hours(run, step, hours, share):
    """It rises linearly over the warm-up, and falls to zero as a half cosine over the hours."""
    run.step, run.seconds = step, 3600 * hours
    assert run.rate() == pytest.approx(8e-4 * share, abs=1e-12)


def test_a_gradient_that_overflows_does_no_harm(run, monkeypatch):
    """A loss that is not finite leaves the weights and their moving average finite."""
    tensors = [torch.rand(1, 1, 8, 8, 8) for _ in range(3)]
    run.train_step(*tensors, torch.tensor([3.0]))
    with monkeypatch.context() as patch:
        patch.setattr("training.run.content", lambda sr, *_: (sr * torch.inf).sum())
        assert not torch.isfinite(run.train_step(*tensors, torch.tensor([3.0]))["norm"])
    for network in (run.network, run.average):
        assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_papers_objective_trains_both_networks(tmp_path, train_in):
    """Content and adversarial losses are reported, and the discriminator is saved with the generator."""
    printed = train_in(tmp_path, "--objective", "content", "--adversarial", "1e-3", "--steps", "2", "--report", "1")
    assert printed.count("adversarial") == printed.count("critic") == 2
    state = torch.load(tmp_path / "runs" / "tiny" / "state.pt", weights_only=True)
    assert state["critic"]["judge.weight"].abs().sum() > 0


def test_an_empty_pool_is_said_so(tmp_path, monkeypatch):
    """One sentence says how to fill it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="run python -m training.pool first"):
        main(["--name", "tiny", "--pool", str(tmp_path)])


def test_a_run_that_is_stopped_keeps_what_it_learned(tmp_path, settings, train_in):
    """SIGTERM ends the session after its current step and saves everything; a new run can start from its averaged weights."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training.train", *settings, "--report", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as process:
        next(line for line in process.stdout if line.startswith("step 3 "))
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    saved = tmp_path / "runs" / "tiny" / "state.pt"
    state = torch.load(saved, weights_only=True)
    assert state["step"] >= 3 and state["voxels"] == state["step"] * 2 * 24**3
    del state["voxels"]  # as in older states
    torch.save(state, saved)
    train_in(tmp_path / "fork", "--steps", "1", "--start-from", str(saved))
    card = export(tmp_path / "fork" / "runs" / "tiny", tmp_path / "tiny.safetensors", name="tiny", tile=32, margin=4)
    assert card.training["steps"] == state["step"] + 1 and card.training["device"] == "1 CPU thread"
    assert "voxels" not in card.training


def test_a_session_leaves_signals_as_they_were(tmp_path, train_in):
    """It also leaves no thread that reads shards."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train_in(tmp_path, "--steps", "1")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    readers = [thread for thread in threading.enumerate() if "keep_fresh" in thread.name]
    for thread in readers:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in readers)


def test_a_network_is_deepened_in_steps(tmp_path, train_in):
    """The paper's generator can start from a run with fewer blocks and gives the same output; one with fewer is refused."""
    def paper(name, *extra, **options):
        return train_in(tmp_path, "--architecture", "generator", "--objective", "content", "--name", name, "--options",
                   json.dumps(options), *extra)

    paper("shallow", "--steps", "3", blocks=1, channels=4)
    state = tmp_path / "runs" / "shallow" / "state.pt"
    paper("deep", "--steps", "1", "--rate", "0", "--start-from", str(state), blocks=2, channels=4)
    one, two = (torch.load(tmp_path / "runs" / n / "state.pt", weights_only=True)["average"] for n in ("shallow", "deep"))
    x = torch.randn(1, 1, 12, 12, 12)
    outputs = []
    for blocks, weights in ((1, one), (2, two)):
        network = nets.build("generator", blocks=blocks, channels=4).eval()
        network.load_state_dict(weights)
        outputs.append(network(x).detach())
    torch.testing.assert_close(*outputs)
    for source, channels in ((str(tmp_path / "runs" / "deep" / "state.pt"), 4), (str(state), 6), ("unet", 4)):
        with pytest.raises(SystemExit, match="another network"):
            paper("other", "--start-from", source, blocks=1, channels=channels)
