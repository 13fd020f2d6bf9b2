"""The paper's cube test: correlation of 25³ Å cubes of a map with the high-resolution density.

The map's negative density is set to 0, and nothing else is subtracted. This is the stricter of the two readings of the paper,
since a correlation that is not taken about the mean tolerates a constant offset.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SIZE = 25  # Å, and voxels of the 1 Å grid
STRIDE = 6  # voxels from one cube to the next


def cube_starts(distance: np.ndarray, reach: float = 3.0) -> np.ndarray:
    """Return the first voxels, (n, 3) zyx, of the cubes with a stride of 6 whose centre is within `reach` Å of the model.

    `distance` is the distance of each voxel to the model, Å. Cubes stay inside the box; a box smaller than a cube has none.
    """
    starts = np.stack(np.meshgrid(*(np.arange(0, n - SIZE + 1, STRIDE) for n in distance.shape), indexing="ij"), -1)
    starts = starts.reshape(-1, 3)
    centre = starts + SIZE // 2
    return starts[distance[tuple(centre.T)] <= reach]


def cube_correlations(array: np.ndarray, hr: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of each cube with that of `hr`, (plain, about the mean), (n,) each. Voxels must be 1 Å."""
    if len(starts) == 0:
        return np.zeros(0), np.zeros(0)
    window = (SIZE, SIZE, SIZE)
    index = tuple(starts.T)
    a = sliding_window_view(np.maximum(array, 0), window)[index].reshape(len(starts), -1).astype(np.float64)
    b = sliding_window_view(hr, window)[index].reshape(len(starts), -1).astype(np.float64)
    plain = _rows(a, b)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    return plain, _rows(a, b)


def _rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cross = np.einsum("ij,ij->i", a, b)
    norm = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    return np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)
