"""Contour levels that enclose the same volume, by counting voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def enclosed_volume(array: np.ndarray, level: float, step: Sequence[float]) -> float:
    """Volume in Å³ of the voxels at or above `level`, for voxels of `step` Å (xyz)."""
    return int(np.count_nonzero(array >= level)) * float(np.prod(step))


def level_for_volume(array: np.ndarray, volume: float, step: Sequence[float]) -> float:
    """Contour level at which voxels of `step` Å (xyz) enclose `volume` Å³, to the nearest voxel.

    The level is the density of a voxel, so that `enclosed_volume` gives the volume back but for half a voxel
    and for voxels of the very same density. A volume under half a voxel gives a level above the maximum.
    """
    count = min(round(volume / float(np.prod(step))), array.size)
    if count < 1:
        return float(np.nextafter(array.max(), np.float32(np.inf)))
    rank = array.size - count
    return float(np.partition(array, rank, axis=None)[rank])
