"""Regression test of the shipped weights: their prediction for a part of the demonstration map must not change.

For new weights, or if predictions should change, run `python -m tests.core.test_shipped` to rewrite the reference file.
"""

from pathlib import Path

import numpy as np
import pytest
from superem.core import devices
from superem.core.density import DensityMap
from superem.core.mrc import read_mrc
from superem.core.predict import enhance
from superem.nets.store import DEFAULT, load

MAP = Path(__file__).resolve().parents[2] / "demo" / "data" / "emd_1461_vp6.mrc.gz"
KEPT = Path(__file__).with_name("shipped.npy")
EDGE = 40  # edge of the part in the middle of the map, voxels
EVERY = 8  # every n-th voxel of the result is stored, in each direction


def sampled() -> np.ndarray:
    """Return samples (2, n, n, n) of the super-resolved map and the expected Q-score, for one orientation in single precision."""
    whole = read_mrc(MAP)
    middle = tuple(slice((n - EDGE) // 2, (n + EDGE) // 2) for n in whole.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "multiplies_bfloat16", lambda: False)
        done = enhance(DensityMap(whole.array[middle], step=whole.step), load(DEFAULT), device="cpu", rotations=1,
                       reliability=True)
    return np.stack([each.array[::EVERY, ::EVERY, ::EVERY] for each in (done.density, done.reliability)])


def test_shipped_weights_predict_what_they_did():
    """The tolerance, a thousandth of the standard deviation, only allows for rounding on other processors and PyTorch builds."""
    for name, found, kept in zip(("map", "expected Q"), sampled(), np.load(KEPT), strict=True):
        assert np.abs(found - kept).max() < 1e-3 * kept.std(), name


if __name__ == "__main__":
    np.save(KEPT, sampled())
