"""A small made-up molecule, so that no test of the training needs data that is not in the repository."""

import numpy as np
import pytest

from training.structures import Atoms


@pytest.fixture(scope="session")
def atoms():
    """A random walk of 900 atoms, confined to a ball of some 17 Å, in three chains, with B-factors."""
    rng = np.random.default_rng(5)
    xyz = [np.zeros(3)]
    while len(xyz) < 900:
        step = rng.standard_normal(3)
        new = xyz[-1] + 1.5 * step / np.linalg.norm(step)
        if np.linalg.norm(new) < 17:
            xyz.append(new)
    b = 20 + 15 * np.abs(np.cumsum(rng.standard_normal(900)) / 15)
    chains = np.repeat(np.arange(3), 300).astype(np.int16)
    side = rng.choice([0, 0, 1, 1, 2], 900).astype(np.uint8)
    return Atoms(np.array(xyz, np.float32), np.full(900, 7, np.float32), b.astype(np.float32), chains, side)
