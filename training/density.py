"""Atomic densities as sums of Gaussians on a grid: the high-resolution (HR) side of every pair."""

from __future__ import annotations

import numpy as np

#: Situs pdb2vol: a map "at target resolution R" has a Gaussian of one-dimensional sigma R / (2 sqrt 3) per atom.
SIGMA_PER_RESOLUTION = 1 / (2 * np.sqrt(3))


def hr_resolution(resolution: float) -> float:
    """Return the resolution (Å) of the HR map that the paper pairs with an experimental map of `resolution` (Å)."""
    return 1.8 if resolution <= 3.5 else 3.0


def gaussian_density(
    coordinates: np.ndarray,
    weights: np.ndarray,
    shape: tuple[int, int, int],
    sigma: float,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    step: tuple[float, float, float] = (1.0, 1.0, 1.0),
    cutoff: float = 4.0,
) -> np.ndarray:
    """Sum one isotropic Gaussian per atom, each with its weight as its integral.

    Parameters
    ----------
    coordinates
        (n, 3) xyz in Å.
    weights
        (n,) integral of each atom's Gaussian, electrons.
    shape
        (nz, ny, nx) of the grid.
    sigma
        One-dimensional standard deviation, Å.
    origin, step
        xyz of voxel [0, 0, 0] and voxel size, Å.
    cutoff
        Radius at which Gaussians are cut off, in sigmas.

    Returns
    -------
    np.ndarray
        (nz, ny, nx) float32, electrons per Å³.
    """
    spacing = np.asarray(step, float)[::-1]
    at = (np.asarray(coordinates, float) - np.asarray(origin, float))[:, ::-1] / spacing  # zyx, voxels
    half = np.maximum(1, np.ceil(cutoff * sigma / spacing)).astype(int)
    limit = np.array(shape)
    near = np.all((at > -half - 1) & (at < limit + half), axis=1)
    at, weights = at[near], np.asarray(weights, float)[near]
    # pad so that no atom at the border needs a special case
    padded = limit + 2 * (half + 1)
    out = np.zeros(int(np.prod(padded)), np.float64)
    offsets = [np.arange(-h, h + 1) for h in half]
    for start in range(0, len(at), 4096):  # in blocks, to bound memory
        block, w = at[start : start + 4096], weights[start : start + 4096]
        base = np.rint(block).astype(int)
        profiles, index = [], []
        for axis in range(3):
            i = base[:, axis, None] + offsets[axis]
            d = (i - block[:, axis, None]) * spacing[axis]
            profiles.append(np.exp(-0.5 * (d / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma))
            index.append(np.clip(i + half[axis] + 1, 0, padded[axis] - 1))
        values = (w[:, None] * profiles[0])[:, :, None, None] * profiles[1][:, None, :, None]
        values = values * profiles[2][:, None, None, :]
        flat = (index[0][:, :, None, None] * padded[1] + index[1][:, None, :, None]) * padded[2]
        flat = flat + index[2][:, None, None, :]
        out += np.bincount(flat.ravel(), values.ravel(), minlength=out.size)
    out = out.reshape(padded)
    inner = tuple(slice(h + 1, h + 1 + n) for h, n in zip(half, shape, strict=True))
    return out[inner].astype(np.float32)
