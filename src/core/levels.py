"""Contour levels that enclose the same volume, by counting voxels or by measuring the surface.

Counting is fast, but for thin density it overestimates the volume inside the surface by a factor of up to two, or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

PARTS = 4  # sampling points along each edge of a cell that the surface cuts
TRIALS = 8  # largest number of levels to try
LEAST = 1e-6  # fraction of the wanted volume that stands for an empty surface, since zero has no logarithm


def enclosed_volume(array: np.ndarray, level: float, step: Sequence[float]) -> float:
    """Return the volume in Å³ of the voxels at or above `level`, for voxels of `step` Å (xyz)."""
    return int(np.count_nonzero(array >= level)) * float(np.prod(step))


def level_for_volume(array: np.ndarray, volume: float, step: Sequence[float]) -> float:
    """Return the contour level at which voxels of `step` Å (xyz) enclose `volume` Å³, to the nearest voxel.

    The level is the density of a voxel, so `enclosed_volume` gives `volume` back to within half a voxel, apart from
    voxels of exactly the same density. For a volume under half a voxel, the level lies above the maximum.
    """
    count = min(round(volume / float(np.prod(step))), array.size)
    if count < 1:
        return float(np.nextafter(array.max(), np.float32(np.inf)))
    rank = array.size - count
    return float(np.partition(array, rank, axis=None)[rank])


def surface_volume(array: np.ndarray, level: float, step: Sequence[float]) -> float:
    """Return the volume in Å³ inside the surface at `level`, closed at the faces of the box, for voxels of `step` Å (xyz).

    Density is interpolated linearly between voxel centres; a cell of eight voxel centres that the surface cuts is
    sampled at 4³ points. At the level at which ChimeraX opens a map, this is within 5 % of the volume inside ChimeraX's
    triangles.
    """
    at = (np.arange(PARTS) + 0.5) / PARTS
    along = np.stack([1 - at, at], axis=1)
    weights = np.kron(along, np.kron(along, along)).astype(np.float32)  # (points, corners) of a cell
    cells = 0.0
    for low, high in pairwise(array):  # neighbouring planes
        every, some = (low >= level) & (high >= level), (low >= level) | (high >= level)
        every, some = every[1:] & every[:-1], some[1:] | some[:-1]
        every, some = every[:, 1:] & every[:, :-1], some[:, 1:] | some[:, :-1]
        j, i = np.nonzero(some & ~every)
        corners = np.stack([plane[j + y, i + x] for plane in (low, high) for y in (0, 1) for x in (0, 1)])
        cells += np.count_nonzero(every) + np.count_nonzero(weights @ corners >= level) / len(weights)
    return cells * float(np.prod(step))


def level_for_surface(
    array: np.ndarray, volume: float, step: Sequence[float], measure: Callable[[float], float], start: float | None = None,
    tolerance: float = 1e-3,
) -> tuple[float, float]:
    """Return the level whose surface encloses `volume` Å³, within `tolerance`, and the volume that it does enclose.

    Voxel counts, corrected by the ratio of the two volumes, give first levels. Once these bracket the target, the level
    is interpolated linearly in the logarithm of the volume. This takes a few surfaces, where bisection takes twenty.

    Parameters
    ----------
    array, volume, step
        As for `level_for_volume`.
    measure
        Function that returns the volume in Å³ inside the surface at a level.
    start
        First level to try.
    tolerance
        Relative error of the volume; if no level comes this close in `TRIALS` trials, the best one is returned.
    """
    level = level_for_volume(array, volume, step) if start is None else start
    tried: list[tuple[float, float]] = []
    best = (np.inf, level, 0.0)  # error, level, volume
    for _ in range(TRIALS):
        found = measure(level)
        best = min(best, (abs(found - volume), level, found))
        if best[0] <= tolerance * volume:
            break
        found = max(found, LEAST * volume)
        tried = sorted([*tried, (np.log(found / volume), level)])
        logarithms, levels = zip(*tried, strict=True)
        if logarithms[0] < 0 < logarithms[-1]:
            level = float(np.interp(0, logarithms, levels))
        else:
            level = level_for_volume(array, enclosed_volume(array, level, step) * volume / found, step)
    return best[1:]
