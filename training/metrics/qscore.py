"""Q-score: how much the density around each atom looks like a resolved atom.

Pintilie et al., Nature Methods 17, 328 (2020), as implemented in their MapQ. At radii of 0 to 2 Å in steps of 0.1 Å, the map is
read at eight points, none of which is nearer to another atom than 0.9 times the radius. The score is the correlation about the
mean of these values with a Gaussian of σ = 0.6 Å. If fewer than eight such points exist among 128, those that exist are used.
Unlike in MapQ, points lie on a fixed spiral, not on one that is regenerated until it fits. Interpolation is trilinear.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from superem.core.density import DensityMap

from .atoms import Atoms
from .grid import sample

SIGMA = 0.6  # Å
RADII = np.arange(21) * 0.1  # Å
POINTS = 8  # at each radius
CLEARANCE = 0.9  # times the radius; no other atom is nearer to a point
CANDIDATES = (8, 16, 32, 64, 128)  # numbers of points tried in turn


def spiral(count: int) -> np.ndarray:
    """Return `count` unit vectors spread evenly over the sphere (Saff and Kuijlaars), (count, 3)."""
    h = -1 + 2 * np.arange(count) / (count - 1)
    longitude = np.zeros(count)
    longitude[1:-1] = np.cumsum(3.6 / np.sqrt(count * (1 - h[1:-1] ** 2)))
    r = np.sqrt(1 - h**2)
    return np.stack([r * np.cos(longitude), r * np.sin(longitude), h], axis=1)


def probes(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points at which Q-score reads the map.

    Returns
    -------
    points : (n, 21, 8, 3) xyz in Å.
    valid : (n, 21, 8) bool, false for the points that an atom lacks.
    """
    tree = cKDTree(xyz)
    points = np.repeat(np.repeat(xyz[:, None, None], len(RADII), axis=1), POINTS, axis=2)
    valid = np.ones(points.shape[:3], bool)
    for shell, radius in enumerate(RADII):
        if radius == 0:
            continue
        missing = np.arange(len(xyz))
        for count in CANDIDATES:
            candidates = xyz[missing, None] + radius * spiral(count)
            nearest = tree.query(candidates, distance_upper_bound=CLEARANCE * radius)[0]
            free = ~np.isfinite(nearest)
            number = free.sum(axis=1)
            done = number >= POINTS if count != CANDIDATES[-1] else np.ones(len(missing), bool)
            # free points first, in the order of the spiral; eight evenly spaced ones are chosen
            order = np.argsort(~free[done], axis=1, kind="stable")
            enough = np.maximum(number[done], POINTS)
            pick = np.floor(np.arange(POINTS)[None] * enough[:, None] / POINTS).astype(int)
            chosen = np.take_along_axis(order, pick, axis=1)
            rows = missing[done]
            points[rows, shell] = np.take_along_axis(candidates[done], chosen[..., None], axis=1)
            valid[rows, shell] = pick < number[done][:, None]
            missing = missing[~done]
            if missing.size == 0:
                break
    return points, valid


def scores(density: DensityMap, points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the Q-score of each atom, (n,), from what `probes` returned."""
    values = sample(density, points).astype(np.float64).reshape(len(points), -1)
    reference = np.repeat(np.exp(-0.5 * (RADII / SIGMA) ** 2), POINTS)[None]
    weight = valid.reshape(len(points), -1).astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    values = values - (weight * values).sum(axis=1, keepdims=True) / total
    reference = reference - (weight * reference).sum(axis=1, keepdims=True) / total
    cross = (weight * values * reference).sum(axis=1)
    norm = np.sqrt((weight * values**2).sum(axis=1) * (weight * reference**2).sum(axis=1))
    return np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)


def qscore(density: DensityMap, atoms: Atoms) -> np.ndarray:
    """Return the Q-score of each atom, (n,)."""
    return scores(density, *probes(atoms.xyz))
