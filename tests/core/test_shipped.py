"""What the shipped weights make of a part of the demonstration's map, against what they made of it when they came.

For new weights, or where predictions are to change: `python -m tests.core.test_shipped` makes the file anew.
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
EDGE = 40  # voxels, of the part in the middle of the map
EVERY = 8  # voxels of the result, of which one is kept


def sampled() -> np.ndarray:
    """A sample (2, n, n, n) of the super-resolved map and of the Q-score to expect, in one orientation and single precision."""
    whole = read_mrc(MAP)
    middle = tuple(slice((n - EDGE) // 2, (n + EDGE) // 2) for n in whole.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "multiplies_bfloat16", lambda: False)
        done = enhance(DensityMap(whole.array[middle], step=whole.step), load(DEFAULT), device="cpu", rotations=1,
                       reliability=True)
    return np.stack([each.array[::EVERY, ::EVERY, ::EVERY] for each in (done.density, done.reliability)])


def test_shipped_weights_predict_what_they_did():
    """To a thousandth of the deviation: other processors and versions of PyTorch round otherwise, and that is all they may do."""
    for name, found, kept in zip(("map", "expected Q"), sampled(), np.load(KEPT), strict=True):
        assert np.abs(found - kept).max() < 1e-3 * kept.std(), name


if __name__ == "__main__":
    np.save(KEPT, sampled())
