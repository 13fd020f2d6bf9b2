"""Losses, tiles and the trainer: what they promise, on data made here."""

import copy
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch
from scipy import ndimage
from superem.nets import store

from superem import nets
from training import data, pool, simulate, structures
from training.card import trained
from training.export import export, export_again
from training.losses import BLUR, content, shell_disagreement
from training.muon import Muon, hidden, orthogonal
from training.train import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("n", [16, 25])
def test_content_is_the_squared_error_and_twice_the_blurred_one(n):
    """Against scipy's own blur, for even and odd tiles."""
    rng = np.random.default_rng(0)
    sr, hr = (ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 1, mode="wrap") for _ in range(2))
    blurred = ndimage.gaussian_filter(sr - hr, BLUR, mode="wrap", truncate=8)
    expected = ((sr - hr) ** 2).mean() + 2 * (blurred**2).mean()
    a, b = (torch.from_numpy(x.astype(np.float32))[None, None] for x in (sr, hr))
    assert float(content(a, b, torch.ones_like(a))) == pytest.approx(expected, rel=0.02)


def test_what_is_not_trusted_costs_nothing():
    """Neither loss sees a voxel whose HR is not known."""
    torch.manual_seed(0)
    hr, trusted = torch.rand(1, 1, 16, 16, 16), torch.ones(1, 1, 16, 16, 16)
    sr = hr.clone()
    sr[..., :4] += 5
    trusted[..., :4] = 0
    assert float(content(sr, hr, trusted)) == pytest.approx(0, abs=1e-10)
    assert float(shell_disagreement(sr, hr, trusted, torch.tensor([3.0]))) == pytest.approx(0, abs=1e-3)


def test_the_shell_loss_ignores_filters_and_punishes_noise():
    """Zero for a sharpened copy, near one for another map."""
    torch.manual_seed(0)
    hr, ones = torch.randn(2, 1, 24, 24, 24), torch.ones(2, 1, 24, 24, 24)
    assert float(shell_disagreement(3 * hr, hr, ones, torch.full((2,), 3.0))) == pytest.approx(0, abs=1e-3)
    assert float(shell_disagreement(torch.randn_like(hr), hr, ones, torch.full((2,), 3.0))) > 0.8


def test_turns_are_the_24_proper_rotations():
    """All differ, and none is a mirror image: handedness is kept."""
    axes = torch.from_numpy(np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij")) - 1)
    seen = set()
    for which in range(24):
        turned = data.turn(axes, which).numpy()
        matrix = np.array([turned[:, 2, 1, 1], turned[:, 1, 2, 1], turned[:, 1, 1, 2]])
        assert np.linalg.det(matrix) == pytest.approx(1)
        seen.add(matrix.tobytes())
    assert len(seen) == 24


@pytest.fixture
def filled_pool(tmp_path, atoms):
    """A pool of a few simulated pairs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pool"
    folder.mkdir()
    pool.write_shard(folder / "simulated-00000.npz", [simulate.simulate(rng, atoms) for _ in range(3)])
    return folder


def test_shards_give_back_their_pairs(filled_pool, atoms):
    """Whatever the size of each pair, and with or without a map of trust."""
    rng = np.random.default_rng(1)
    pair = simulate.simulate(rng, atoms)
    trusted = np.full(pair.lr.shape, 255, np.uint8)
    pool.write_shard(filled_pool / "real-00000.npz", [simulate.Pair(pair.lr, pair.hr, trusted, 3.1)])
    (back,) = pool.read_shard(filled_pool / "real-00000.npz")
    np.testing.assert_array_equal(back.lr, pair.lr)
    np.testing.assert_array_equal(back.trusted, trusted)
    assert back.resolution == pytest.approx(3.1)


def test_a_shard_that_cannot_be_read_holds_up_no_other(filled_pool, capsys):
    """It is told of once, and read when it is whole."""
    whole = (filled_pool / "simulated-00000.npz").read_bytes()
    (filled_pool / "simulated-00001.npz").write_bytes(whole[: len(whole) // 2])
    (filled_pool / "simulated-00002.npz").write_bytes(whole)
    held = data.Pool(filled_pool, "simulated")
    assert held.refresh() == held.refresh() == 6
    assert capsys.readouterr().out.count("simulated-00001.npz cannot be read") == 1
    pool.write_shard(filled_pool / "simulated-00001.npz", pool.read_shard(filled_pool / "simulated-00000.npz"))
    assert held.refresh() == 9


def test_tiles_larger_than_a_pair_are_padded(filled_pool):
    """A tile is always whole, and holds the molecule more often than not."""
    held = data.Pool(filled_pool, "simulated")
    assert held.refresh() == 3
    rng = np.random.default_rng(0)
    for size in (24, 72):
        lr, hr, trusted, resolution = data.batch(rng, [(held, 1.0)], 4, size)
        assert lr.shape == hr.shape == trusted.shape == (4, 1, size, size, size)
        assert resolution.shape == (4,) and 2.5 < resolution.min()
        assert (hr.amax(dim=(1, 2, 3, 4)) > 0.5).sum() >= 2


def trainer(filled_pool, *extra):
    """Command and environment to train a small network as a user would."""
    command = [sys.executable, "-m", "training.train", "--name", "tiny", "--pool", str(filled_pool), "--real", "0"]
    command += ["--options", '{"widths": [16, 16], "depths": [1, 1]}', "--size", "24", "--batch", "2", *extra]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    return command, environment


def train(folder, filled_pool, *extra):
    """Run the trainer to its end."""
    folder.mkdir(exist_ok=True)
    command, environment = trainer(filled_pool, *extra)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_a_run_learns_stops_and_goes_on(tmp_path, filled_pool):
    """Half the density is soon learned; a second sitting begins where the first ended; the result can be exported and loaded."""
    shard = filled_pool / "simulated-00000.npz"
    pool.write_shard(shard, [replace(pair, hr=pair.lr / 2) for pair in pool.read_shard(shard)])
    often = ("--report", "20", "--rate", "1e-3", "--warm-up", "10", "--clip", "1")
    first = train(tmp_path, filled_pool, "--steps", "40", "--hours", "0.5", *often)
    assert first.returncode == 0, first.stderr
    second = train(tmp_path, filled_pool, "--steps", "20", *often)
    assert second.returncode == 0, second.stderr
    reported = [line for line in (first.stdout + second.stdout).splitlines() if line.startswith("step")]
    losses = [float(line.split("content ")[1].split()[0]) for line in reported]
    assert len(losses) == 3 and "step 60" in second.stdout
    assert second.stdout.splitlines()[-1].startswith("runs/tiny/state.pt: 60 steps, ")
    assert losses[-1] < losses[0] / 2
    assert "of 0.5 hours" in first.stdout and "of 0.5 hours" in second.stdout  # hours hold until they are given again
    out = tmp_path / "tiny.safetensors"
    card = export(tmp_path / "runs" / "tiny", out, name="tiny", tile=32, margin=4)
    assert card.training["steps"] == 60
    assert store.load(str(out)).card == card
    before = store.load(str(out)).network.state_dict()
    again = export_again(out, out, summary="New words.", blur=[[3.0, 0.5]])
    after = store.load(str(out))
    assert after.card == again and (again.summary, again.name, again.tile) == ("New words.", "tiny", 32)
    assert all(torch.equal(value, before[name]) for name, value in after.network.state_dict().items())
    third = train(tmp_path / "elsewhere", filled_pool, "--steps", "2", "--report", "1", "--start-from", str(out))
    assert third.returncode == 0, third.stderr
    assert float(third.stdout.split("content ")[1].split()[0]) < 1.5 * losses[0]
    out.unlink()  # what a run was begun from is not needed to go on, and its card still names it
    command, environment = trainer(filled_pool)
    short = [*command[:7], "--real", "0", "--steps", "1", "--report", "1", "--rate", "1e-5"]
    fourth = subprocess.run(short, cwd=tmp_path / "elsewhere", capture_output=True, text=True, env=environment)
    assert fourth.returncode == 0, fourth.stderr
    assert fourth.stdout.startswith("runs/tiny goes on with other settings: --rate 1e-05 (was 0.0004)\n")
    card = export(tmp_path / "elsewhere/runs/tiny", out, name="tiny", tile=32, margin=4)
    assert (card.training["steps"], card.training["batch"], card.training["tile_edge"]) == (3, 2, 24)
    assert card.training["start_from"] == str(out) and f"begun from {out}" in trained(card.training)
    for option, value, was in (("adversarial", "0.001", "0.0"), ("optimiser", "muon", "adam")):
        other = subprocess.run([*short, f"--{option}", value], cwd=tmp_path / "elsewhere", capture_output=True, text=True,
                               env=environment)
        assert other.stderr == (f"runs/tiny holds another run: --{option} {value} (was {was})."
                                " Give what it was begun with, or another --name.\n")


def test_the_papers_objective_trains_both_networks(tmp_path, filled_pool):
    """Content and adversarial losses are both reported, and the discriminator is saved with the generator."""
    result = train(tmp_path, filled_pool, "--objective", "content", "--adversarial", "1e-3", "--steps", "2", "--report", "1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("adversarial") == result.stdout.count("critic") == 2
    state = torch.load(tmp_path / "runs" / "tiny" / "state.pt", weights_only=True)
    assert state["critic"]["judge.weight"].abs().sum() > 0


def test_an_empty_pool_is_said_so(tmp_path, monkeypatch):
    """One sentence, and how to mend it."""
    (tmp_path / "pool").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", trainer(tmp_path / "pool")[0][2:])
    with pytest.raises(SystemExit, match="run python -m training.pool first"):
        main()


def test_tilings_are_compared_with_a_dense_one(tmp_path):
    """An identity has no error in any tiling, and every preset is in the table."""
    from superem.core.density import DensityMap
    from superem.core.tiles import PRESETS
    from superem.nets import build

    from training.tiling import compare

    card = store.Card("same", "unet", {"widths": [8], "depths": [0]}, 32, 4, "robust")
    density = DensityMap(ndimage.gaussian_filter(np.random.default_rng(0).random((40, 40, 40)), 2) - 0.45)
    rows = compare(density, store.Model(build("unet", **card.options).eval(), card, "0"))
    assert [name.split()[0] for name, _, _ in rows] == ["48/4", *PRESETS]
    assert max(error for _, error, _ in rows) < 1e-4


def test_tilings_are_timed_on_all_tiles(monkeypatch):
    """Of a map that is empty for the most part, too: what is skipped costs no time."""
    from superem.core.density import DensityMap
    from superem.nets import build

    from training import tiling

    reports = []

    def enhance(*arguments, **options):
        done = tiling_enhance(*arguments, **options)
        reports.append(done.report)
        return done

    tiling_enhance = tiling.enhance
    monkeypatch.setattr(tiling, "enhance", enhance)
    card = store.Card("same", "unet", {"widths": [8], "depths": [0]}, 16, 4, "robust")
    array = np.zeros((40, 40, 72), np.float32)
    array[12:28, 12:28, 12:28] = ndimage.gaussian_filter(np.random.default_rng(0).random((16, 16, 16)), 1)
    density, model = DensityMap(array), store.Model(build("unet", **card.options).eval(), card, "0")
    assert tiling_enhance(density, model, device="cpu").report.tiles_skipped
    tiling.compare(density, model)
    assert len(reports) > 2 and not any(report.tiles_skipped for report in reports)


def test_a_run_that_is_stopped_keeps_what_it_learned(tmp_path, filled_pool):
    """SIGTERM ends the sitting after the step it is in, with all saved; a fork begins with the average of it."""
    command, environment = trainer(filled_pool, "--report", "1")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as process:
        next(line for line in process.stdout if line.startswith("step 3 "))
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    state = torch.load(tmp_path / "runs" / "tiny" / "state.pt", weights_only=True)
    assert state["step"] >= 3
    fork = train(tmp_path / "fork", filled_pool, "--steps", "1", "--start-from", str(tmp_path / "runs/tiny/state.pt"))
    assert fork.returncode == 0, fork.stderr
    card = export(tmp_path / "fork" / "runs" / "tiny", tmp_path / "tiny.safetensors", name="tiny", tile=32, margin=4)
    assert card.training["steps"] == state["step"] + 1 and card.training["device"] == "1 CPU thread"


def test_side_chains_and_their_acidic_ends_are_told_from_the_main_chain(tmp_path):
    """Aspartate and glutamate lose their carboxylates to the beam; asparagine keeps its amide; DNA has no side chains."""
    residues = {"ASP": "N CA C O CB CG OD1 OD2", "GLU": "N CA C O CB CG CD OE1 OE2", "ASN": "N CA C O CB CG OD1 ND2",
                "DA": "P O5' C1' N9"}
    lines = [f"ATOM  {0:5d} {name:>4s} {residue:>3s} A{number:4d}    {10 + number:8.3f}{0:8.3f}{0:8.3f}  1.00 20.00"
             f"           {name[0]}" for number, (residue, names) in enumerate(residues.items(), 1) for name in names.split()]
    (tmp_path / "a.pdb").write_text("\n".join(lines) + "\n")
    assert structures.read_atoms(tmp_path / "a.pdb").side.tolist() == [
        0, 0, 0, 0, 1, 2, 2, 2, 0, 0, 0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


def test_the_cache_of_structures_is_renewed_with_their_list(tmp_path, atoms):
    """What is packed comes back to 0.01 Å; a list that changed is read again; without files the cache is enough."""
    folder, cache = tmp_path / "structures", tmp_path / "cache.npz"
    for name in ("one", "two"):
        write_pdb(folder / "PDownB" / f"{name}.pdb.gz", atoms)
    table = folder / "structures.csv"
    table.write_text("set,name\nPDownB,one\n")
    (first,) = structures.load_structures(folder, cache)["PDownB"]
    read = structures.read_atoms(folder / "PDownB" / "one.pdb.gz")
    np.testing.assert_allclose(first.coordinates, read.coordinates - read.coordinates[0], atol=0.0051)
    np.testing.assert_allclose(first.b_factors, read.b_factors, atol=0.5)
    np.testing.assert_array_equal(first.side, read.side)
    table.write_text("set,name\nPDownB,one\nPDownB,two\n")
    assert len(structures.load_structures(folder, cache)["PDownB"]) == 2
    table.unlink()
    assert len(structures.load_structures(folder, cache)["PDownB"]) == 2
    cache.unlink()
    with pytest.raises(SystemExit, match="lists the structures"):
        structures.load_structures(folder, cache)
    table.write_text("set,name\nPDownB,one\nPDownB,three\n")
    with pytest.raises(SystemExit, match="three.pdb.gz is missing, though structures.csv lists it"):
        structures.load_structures(folder, cache)


def write_pdb(path, atoms):
    """A chain of glycines from the first atoms of a set, as a PDB file."""
    structure, model, chain = gemmi.Structure(), gemmi.Model("1"), gemmi.Chain("A")
    for i in range(12):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "GLY", gemmi.SeqId(str(i + 1))
        for name, xyz in zip(("N", "CA", "C", "O"), atoms.coordinates[4 * i : 4 * i + 4], strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(name[0]), 20 + i
            atom.pos = gemmi.Position(*map(float, xyz))
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(structure.make_pdb_string().encode()))


@pytest.mark.parametrize("shape", [(16, 200), (200, 16), (64, 96)])
def test_muon_steps_are_alike_in_all_directions(shape):
    """Singular values are brought near to 1, whatever they were, and vectors stay."""
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    singular = (u.T @ orthogonal(matrix) @ v.T)
    assert 0.6 < singular.diag().min() and singular.diag().max() < 1.3
    assert (singular - torch.diag(singular.diag())).abs().max() < 1e-3


def test_muon_learns_and_goes_on_where_it_was():
    """Kernels and all else, at a rate that is Adam's: half of the steps, state kept, and the other half give the same."""
    def network():
        torch.manual_seed(1)
        return nets.build("unet", widths=(16, 16), depths=(1, 1))

    x, y = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 8, 8, 8)

    def train(net, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            loss = (net(x) - y).square().mean()
            loss.backward()
            optimiser.step()
        return float(loss)

    whole, parted = network(), network()
    before = {name: p.clone() for name, p in whole.named_parameters()}
    muon = Muon(whole.parameters(), 1e-2)
    assert train(whole, muon, 30) < 0.5 * float(x.square().mean())
    assert all(not torch.equal(p, before[name]) for name, p in whole.named_parameters())
    kernels = [p for p in whole.parameters() if hidden(p)]
    assert {tuple(p.shape[2:]) for p in kernels} == {(3, 3, 3), (2, 2, 2)} and all(min(p.shape[:2]) == 16 for p in kernels)
    first = Muon(parted.parameters(), 1e-2)
    train(parted, first, 15)
    second = Muon(parted.parameters(), 1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(parted, second, 15)
    for a, b in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_network_is_deepened_in_steps(tmp_path, filled_pool, monkeypatch):
    """The paper's generator with more blocks begins as the run it deepens; one with fewer is refused."""
    def settings(name, *extra, **options):
        command, environment = trainer(filled_pool, "--architecture", "generator", "--objective", "content", *extra)
        command[command.index("--name") + 1], command[command.index("--options") + 1] = name, json.dumps(options)
        return command, environment

    def paper(*arguments, **options):
        command, environment = settings(*arguments, **options)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    assert paper("shallow", "--steps", "3", blocks=1, channels=4).returncode == 0
    state = tmp_path / "runs" / "shallow" / "state.pt"
    deep = paper("deep", "--steps", "1", "--rate", "0", "--start-from", str(state), blocks=2, channels=4)
    assert deep.returncode == 0, deep.stderr
    one, two = (torch.load(tmp_path / "runs" / n / "state.pt", weights_only=True)["average"] for n in ("shallow", "deep"))
    x = torch.randn(1, 1, 12, 12, 12)
    outputs = []
    for blocks, weights in ((1, one), (2, two)):
        network = nets.build("generator", blocks=blocks, channels=4).eval()
        network.load_state_dict(weights)
        outputs.append(network(x).detach())
    torch.testing.assert_close(*outputs)
    monkeypatch.chdir(tmp_path)
    for source, channels in ((str(tmp_path / "runs" / "deep" / "state.pt"), 4), (str(state), 6), ("unet", 4)):
        command, _ = settings("other", "--start-from", source, blocks=1, channels=channels)
        monkeypatch.setattr(sys, "argv", command[2:])
        with pytest.raises(SystemExit, match="another network"):
            main()
