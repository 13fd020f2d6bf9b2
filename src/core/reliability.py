"""Reliability of a super-resolved map at each place, from the strength of the detail that the network drew there.

A network trained to minimise its error draws less contrast where it is less certain, because detail that it cannot know
is missing from its output. So the local strength of detail in a prediction indicates how right it is likely to be. The
input's own contrast does so on some maps only, and local agreement of input and prediction says little
(`training/reliability.py` measures all three). A model card holds the Q-score for each strength.

All arrays are on the network's 1 Å grid, so one voxel is 1 Å.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

#: Sigma (Å) of the Gaussian window in which detail is measured: about 6 Å across, one or two residues.
WINDOW = 2.5


def local_detail(sr: np.ndarray) -> np.ndarray:
    """Return the standard deviation of a prediction in a Gaussian window around each voxel.

    Parameters
    ----------
    sr
        Prediction in network units, (nz, ny, nx).

    Returns
    -------
    (nz, ny, nx) float32, network units.
    """
    mean = gaussian_filter(sr, WINDOW, output=np.float32, mode="nearest")
    variance = gaussian_filter(np.square(sr, dtype=np.float32), WINDOW, mode="nearest")
    variance -= np.square(mean, out=mean)
    return np.sqrt(np.maximum(variance, 0, out=variance), out=variance)


def expected_q(sr: np.ndarray, table: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the Q-score that a correct model is expected to have around each voxel of a prediction.

    Parameters
    ----------
    sr
        Prediction in network units, (nz, ny, nx).
    table
        (detail, Q-score) pairs from a model card, by rising detail; Q is interpolated between them.

    Returns
    -------
    (nz, ny, nx) float32.
    """
    detail, q = np.array(table, float).T
    found = local_detail(sr)
    for plane in found:  # plane by plane, since np.interp makes copies of twice the size
        plane[:] = np.interp(plane, detail, q)
    return found
