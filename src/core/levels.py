"""Contour levels that enclose the same volume, by counting voxels or by measuring the surface.

Counting is fast, but for thin density it overestimates the volume inside the surface by a factor of up to two, or more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

PARTS = 4  # sampling points along each edge of a cell that the surface cuts
TRIALS = 8  # largest number of levels to try
LEAST = 1e-6  # fraction of the wanted volume that stands for an empty surface, since zero has no logarithm
AGREEMENT = 0.02  # largest relative difference of two volumes that are called the same
PLATEAU = 0.01  # least share of the voxels that make a plateau
SAMPLE = 100_000  # voxels among which a plateau is looked for


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

    Many maps have a plateau: voxels of exactly the same density, such as zero outside a mask. A surface encloses all of
    it or nothing of it. If the target lies in between, the plateau is left out, unless all of it is within `AGREEMENT`
    of the target: what lies above it is the map's density.

    Parameters
    ----------
    array, volume, step
        As for `level_for_volume`.
    measure
        Function that returns the volume in Å³ inside the surface at a level, including voxels of exactly this density.
    start
        First level to try.
    tolerance
        Relative error of the volume; if no level comes this close in `TRIALS` trials, the best one is returned.
    """
    measure, plateau = cache(measure), _plateau(array)
    level = level_for_volume(array, volume, step) if start is None else start
    tried: dict[float, float] = {}  # volumes by level
    while len(tried) < TRIALS and level not in tried:
        if plateau is not None and level <= plateau:
            above = _above(array, plateau)
            if measure(above) < volume <= (1 + tolerance) * measure(plateau):
                level = plateau if agree(measure(plateau), volume) else above
                return level, measure(level)
            if volume <= measure(above):
                level = above
            elif tried:
                tried[plateau] = measure(plateau)  # nearer than those tried, which all lie above it
            plateau = None
        tried[level] = measure(level)
        if abs(tried[level] - volume) <= tolerance * volume:
            break
        logarithms, levels = zip(*sorted((np.log(max(v / volume, LEAST)), at) for at, v in tried.items()), strict=True)
        if logarithms[0] < 0 < logarithms[-1]:
            level = float(np.interp(0, logarithms, levels))
        else:
            found = max(tried[level], LEAST * volume)
            level = level_for_volume(array, enclosed_volume(array, level, step) * volume / found, step)
        if level in tried:  # many voxels share this density, as in maps of whole numbers: go on with the next one
            beyond = (array.min(where=array > level, initial=np.inf) if tried[level] > volume else
                      array.max(where=array < level, initial=-np.inf))
            if np.isfinite(beyond):
                level = float(beyond)
    return min(tried.items(), key=lambda item: (abs(item[1] - volume), item[0]))


def agree(one: float, other: float) -> bool:
    """Return whether two volumes are the same within `AGREEMENT`."""
    return abs(one - other) <= AGREEMENT * max(one, other)


def enclosing(one: float, other: float, about: str = "") -> str:
    """Return words that say what two contours enclose, in Å³; one volume is named if they agree, both if not."""
    if agree(one, other):
        return f"both enclose {about}{one:,.0f} Å³"
    return f"they enclose {about}{one:,.0f} and {other:,.0f} Å³"


def _plateau(array: np.ndarray) -> float | None:
    """Return the density that most voxels share exactly, from an even sample; None if few share one, or none lie above it."""
    every = math.ceil((array.size / SAMPLE) ** (1 / 3))
    densities, counts = np.unique(array[::every, ::every, ::every], return_counts=True)
    most = counts.argmax()
    if counts[most] < PLATEAU * counts.sum() or most == len(densities) - 1:
        return None
    return float(densities[most])


def _above(array: np.ndarray, level: float) -> float:
    """Return a level just above another, by a millionth of the way to the maximum or, if that is more, to the next number."""
    return float(max(np.nextafter(np.float32(level), np.float32(np.inf)), np.float32(level + 1e-6 * (array.max() - level))))
