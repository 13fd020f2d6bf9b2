"""Tests that estimates of a run agree with real runs."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from superem.core import runner
from superem.core.density import DensityMap
from superem.core.devices import Device
from superem.core.estimate import estimate
from superem.core.memory import main_memory
from superem.core.predict import Cancelled, enhance

ROOT = Path(__file__).resolve().parents[2]


def outline(n, step=1.0):
    return DensityMap(np.broadcast_to(np.float32(0), (n, n, n)), step=(step,) * 3)


def test_time_and_tiles(make_model):
    class Slow(torch.nn.Module):
        def forward(self, x):
            threading.Event().wait(0.02)
            return x

    density = DensityMap(np.random.default_rng(0).normal(size=(60, 60, 60)))
    model = make_model(Slow(), rotations=4)
    found = estimate(outline(60), model, device="cpu")
    report = enhance(density, model, device="cpu", skip_empty=False).report
    assert found.tiles == report.tiles_run
    assert 0.5 < found.seconds / (0.02 * 4 * found.tiles) < 4


def test_a_large_batch_takes_no_longer_to_estimate_on_a_cpu(make_model):
    """One tile tells the time of each; memory is that of as many as will be run at once."""
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    model = make_model(torch.nn.Sequential(Seen(), torch.nn.Conv3d(1, 1, 3, padding=1)))
    one, many = (estimate(outline(150), model, device="cpu", batch_size=n) for n in (1, 20))
    assert set(seen) == {1}
    assert many.memory > one.memory and many.tiles == one.tiles


def test_a_cancelled_estimate_gives_back_gpu_memory(make_model, monkeypatch):
    released = []
    monkeypatch.setattr(runner.Runner, "release", lambda _runner: released.append(1))
    with pytest.raises(Cancelled):
        estimate(outline(40), make_model(torch.nn.Sequential(torch.nn.Identity())), device="cpu", cancelled=lambda: True)
    assert released


def test_time_after_the_network_counts(make_model):
    """With a fast GPU, filters and resampling of a large map take longer than the network."""
    class Instant(torch.nn.Module):
        def forward(self, x):
            return x

    model = make_model(Instant(), blur=[[2.0, 0.5], [20.0, 0.5]], follow=0.5)
    array = np.zeros((150, 150, 150), np.float32)
    array[50:100, 50:100, 50:100] = np.random.default_rng(0).random((50, 50, 50))
    seconds = enhance(DensityMap(array), model, device="cpu").report.seconds
    assert 0.2 < estimate(outline(150), model, device="cpu").seconds / seconds < 5


def test_tiles_of_a_map_that_is_not_resampled(make_model):
    """Its voxels need not lie at whole Å: it is processed on its own grid."""
    density = DensityMap(np.random.default_rng(0).normal(size=(60, 60, 60)), (0.37, 0.5, 0.5))
    report = enhance(density, make_model(), device="cpu", skip_empty=False).report
    assert estimate(density, make_model(), device="cpu").tiles == report.tiles_run


MEASURE = """
import json, re, sys
import numpy as np, torch
from superem.core.density import DensityMap
from superem.core.estimate import estimate
from superem.core.levels import enclosed_volume, level_for_surface
from superem.core.mrc import write_mrc
from superem.core.predict import enhance
from superem.nets import build
from superem.nets.store import Card, Model

def resident(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

def foretold_and_taken(tile, n, step, grid, reliability):
    options = {"depths": [2, 1, 1]}
    card = Card("test", "unet", options, tile, 8, "robust", blur=[[3.0, 0.5]], follow=0.5, reliability=[[0, 0], [1, 1]])
    array = np.zeros((n, n, n), np.float32)
    array[n // 2 - 4 : n // 2 + 4, 4:12, 4:12] = 1 + np.random.default_rng(0).random((8, 8, 8))
    before = resident("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    model = Model(build("unet", **options).eval(), card, "")
    density = DensityMap(array + np.float32(0), step=(step,) * 3)
    result = enhance(density, model, device="cpu", grid=grid, reliability=reliability).density
    write_mrc("out.mrc", result)
    level_for_surface(result.array, 1000, result.step, lambda level: enclosed_volume(result.array, level, result.step))
    took = resident("VmHWM") - before
    outline = DensityMap(np.broadcast_to(np.float32(0), array.shape), step=(step,) * 3)
    return estimate(outline, model, device="cpu", grid=grid).memory, took

torch.set_num_threads(1)
foretold_and_taken(40, 20, 1.0, "1A", True)  # libraries are loaded
print(json.dumps(foretold_and_taken(*json.loads(sys.argv[1]))))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a program's peak memory")
@pytest.mark.parametrize("case", [
    (32, 40, 1.0, "1A", False),  # dominated by what the libraries keep
    (96, 80, 1.0, "1A", False),  # by the network
    (48, 220, 0.7, "input", False),  # by the map
    (48, 340, 1.0, "1A", False),  # by the filters
    (48, 400, 0.4, "input", True),  # by the input, the result and the expected Q-scores
])
def test_main_memory_is_foretold(case, tmp_path):
    """In a process as users have it, the estimate is never too low, and not far too high; it covers writing and levels."""
    command = [sys.executable, "-c", MEASURE, json.dumps(case)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    foretold, took = json.loads(done.stdout)
    assert took < foretold < 1.8 * took + 1.1 * runner.BUFFERS, (foretold, took)


def test_memory_grows_with_the_map_the_output_and_the_network():
    assert main_memory(outline(100)) == 8 * 4 * 100**3
    assert main_memory(outline(100), network=10**9) == 8 * 4 * 100**3 + 10**9
    assert main_memory(outline(200, 0.5)) > main_memory(outline(101)) + 4 * 200**3 * 0.9
    assert main_memory(outline(200, 0.5), "input") == main_memory(outline(200, 0.5)) + 2 * 4 * 200**3


def test_gpu_memory_is_told_apart(make_model, monkeypatch):
    """A GPU's memory is not counted as main memory; "cpu:0", PyTorch's name for the CPU but not ours, stands for a GPU."""
    monkeypatch.setattr("superem.core.estimate.choose", lambda _: (Device("cpu:0", "a GPU"), ""))
    monkeypatch.setattr(runner.Runner, "memory", lambda *_: 10**10)
    found = estimate(outline(30), make_model())
    assert (found.gpu_memory, found.memory) == (10**10, main_memory(outline(30)))
