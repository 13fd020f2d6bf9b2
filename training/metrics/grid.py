"""Small functions on grids and positions, shared by several metrics."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from superem.core.density import DensityMap


def distance_to_atoms(density: DensityMap, xyz: np.ndarray, limit: float) -> np.ndarray:
    """Return the distance in Å of each voxel to the nearest atom, (nz, ny, nx); infinite beyond `limit`."""
    kji = np.indices(density.shape).reshape(3, -1).T
    nearest = cKDTree(xyz).query(density.positions(kji[:, ::-1]), distance_upper_bound=limit)[0]
    return nearest.reshape(density.shape)


def sample(density: DensityMap, points: np.ndarray) -> np.ndarray:
    """Return the density at (..., 3) xyz positions in Å, interpolated trilinearly as in ChimeraX; 0 outside of the box."""
    kji = density.indices(points).reshape(-1, 3).T[::-1]
    values = map_coordinates(density.array, kji, order=1, mode="constant", output=np.float32)
    return values.reshape(points.shape[:-1])


@lru_cache(maxsize=4)
def spatial_frequency(shape: tuple[int, int, int], step: tuple[float, float, float]) -> np.ndarray:
    """Return |s| in 1/Å of each coefficient of `numpy.fft.rfftn`; `shape` is zyx, `step` is xyz in Å."""
    fz = np.fft.fftfreq(shape[0], step[2])[:, None, None]
    fy = np.fft.fftfreq(shape[1], step[1])[None, :, None]
    fx = np.fft.rfftfreq(shape[2], step[0])[None, None, :]
    return np.sqrt(fz**2 + fy**2 + fx**2)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation about the mean; 0 if either array is constant."""
    a = a.ravel().astype(np.float64) - a.mean(dtype=np.float64)
    b = b.ravel().astype(np.float64) - b.mean(dtype=np.float64)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0
