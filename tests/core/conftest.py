"""Models and maps whose right answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings
from superem.core.density import DensityMap

# The same examples in every run: a run that fails can be repeated. Other ones: --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Keep beside other work on the machine: two threads stall each other as soon as a third program runs."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_model():
    """Return what makes a model of any network: the fields of `nets.store.Model` that the core uses."""

    def make(network=None, tile=32, margin=4, normalisation="robust", blur=(), reliability=(), rotations=1):
        card = SimpleNamespace(
            name="test", tile=tile, margin=margin, normalisation=normalisation, blur=blur, reliability=reliability,
            rotations=rotations)
        return SimpleNamespace(network=network or torch.nn.Identity(), card=card, sha256="0" * 64)

    return make


@pytest.fixture(scope="session")
def make_blob():
    """Return what makes a map of one Gaussian at `centre` (xyz, Å)."""

    def make(shape, origin, step, centre, sigma=2.5, rotation=None):
        empty = DensityMap(np.zeros(shape), origin, step, np.eye(3) if rotation is None else rotation)
        away = positions(empty) - centre
        array = np.exp(-(away**2).sum(axis=-1) / (2 * sigma**2))
        return DensityMap(array, origin, step, empty.rotation)

    return make


@pytest.fixture(scope="session")
def centre_of_mass():
    """Return what finds the centre of mass (xyz, Å) of a map."""

    def find(density):
        weights = density.array.astype(float)[..., None]
        return (positions(density) * weights).sum(axis=(0, 1, 2)) / weights.sum()

    return find


def positions(density):
    """Positions (nz, ny, nx, 3) of all voxels, xyz in Å."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in density.shape), indexing="ij")
    return density.positions(np.stack([i, j, k], axis=-1))
