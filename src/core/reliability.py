"""Where a super-resolved map is to be believed, by how much detail the network dared to draw there.

A network that is trained to err as little as possible draws less contrast where it is less sure: what it cannot know of
the detail leaves its answer. So the local strength of detail in a prediction tells how right it is likely to be; the input's
own contrast tells it on some maps and on others not, and where input and prediction agree tells little
(`training/reliability.py` measures all three). A model card holds what Q-score goes with which strength.

All arrays are on the 1 Å grid that a network works on: a voxel is an Å.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

#: Sigma (Å) of the Gaussian window in which detail is measured: some 6 Å across, a residue or two.
WINDOW = 2.5


def local_detail(sr: np.ndarray) -> np.ndarray:
    """Standard deviation of a prediction in a Gaussian window round each voxel.

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
    """Q-score that a right model is expected to have round each voxel of a prediction.

    Parameters
    ----------
    sr
        Prediction in network units, (nz, ny, nx).
    table
        (detail, Q-score) pairs by rising detail, from a model card; between them Q is interpolated.

    Returns
    -------
    (nz, ny, nx) float32.
    """
    detail, q = np.array(table, float).T
    found = local_detail(sr)
    for plane in found:  # plane by plane: interp works in copies of twice the size
        plane[:] = np.interp(plane, detail, q)
    return found
