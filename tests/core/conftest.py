"""Fixtures and functions: models and maps with known results, and the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from superem.cli import main
from superem.core.density import DensityMap
from superem.core.mrc import write_mrc
from superem.nets import build, store

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"widths": [8, 16], "depths": [1, 1]}  # options of a small network

# Use the same examples in every run, so that failures are reproducible. For others: --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Use one thread: two threads block each other as soon as another program runs."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_model():
    """Return a function that makes a model of any network; `card` replaces entries of its default card."""

    def make(network=None, **card):
        card = store.Card("test", "", {}, **{"tile": 32, "margin": 4, "normalisation": "robust"} | card)
        return store.Model(network or torch.nn.Identity(), card, "0" * 64)

    return make


@pytest.fixture(scope="session")
def make_blob():
    """Return a function that makes a map of one Gaussian at `centre` (xyz, Å)."""

    def make(shape, origin, step, centre, sigma=2.5, rotation=None):
        empty = DensityMap(np.zeros(shape), origin, step, np.eye(3) if rotation is None else rotation)
        away = positions(empty) - centre
        array = np.exp(-(away**2).sum(axis=-1) / (2 * sigma**2))
        return DensityMap(array, origin, step, empty.rotation)

    return make


@pytest.fixture(scope="session")
def centre_of_mass():
    """Return a function that finds the centre of mass (xyz, Å) of a map."""

    def find(density):
        weights = density.array.astype(float)[..., None]
        return (positions(density) * weights).sum(axis=(0, 1, 2)) / weights.sum()

    return find


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Write a weights file of a small network, untrained and so the identity; return its path."""
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


@pytest.fixture(scope="session")
def start():
    """Return a function that starts `python -m superem` in a folder."""

    def process(folder, *arguments, **environment):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        return subprocess.Popen([sys.executable, "-m", "superem", *map(str, arguments)], cwd=folder, env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return process


@pytest.fixture(scope="session")
def run(start):
    """Return a function that runs `python -m superem` to its end; it returns exit code, standard output and standard error."""

    def answer(folder, *arguments, **environment):
        process = start(folder, *arguments, **environment)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    return answer


@pytest.fixture
def call(folder, capsys, monkeypatch):
    """Return a function that calls the entry point in `folder`, and returns the same as `run`."""
    monkeypatch.chdir(folder)

    def answer(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return answer


def positions(density):
    """Return the positions (nz, ny, nx, 3) of all voxels, xyz in Å."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in density.shape), indexing="ij")
    return density.positions(np.stack([i, j, k], axis=-1))


def noise(shape, seed=0, **geometry):
    """Return a map of normal noise, with the keywords of DensityMap."""
    array = np.random.default_rng(seed).normal(size=shape)
    array.flat[0] = 3  # so that even the smallest map has positive density
    return DensityMap(array, **geometry)
