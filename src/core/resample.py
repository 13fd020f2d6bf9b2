"""Resampling to a grid of a given voxel size in Å, or to the grid of another map.

Interpolation uses a sinc with a Kaiser window that reaches 8 voxels to either side. Its amplitude at 3 Å in a map of
1.3 Å voxels, the hardest common case, is 0.94 (cubic spline: 0.74, quintic: 0.83), and it leaves a third of the quintic
spline's false detail beyond the input's Nyquist frequency. If the new voxel is larger, the sinc is stretched to it and
so becomes the anti-aliasing filter. One axis is resampled at a time, by a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from .density import WHOLE, DensityMap

HALF_WIDTH = 8  # half width of the window, in voxels of the coarser grid
KAISER_BETA = 5.0  # shape of the window; a larger value blurs more and lets less false detail through
SAME_STEP = 1e-3  # relative difference below which two voxel sizes count as equal


def has_step(density: DensityMap, step: float = 1.0) -> bool:
    """Return whether a map already has cubic voxels of `step` Å, within 0.1 %, so that it need not be resampled."""
    return all(abs(s / step - 1) < SAME_STEP for s in density.step)


def grid_shape_origin(density: DensityMap, step: float = 1.0) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return shape (zyx) and origin (xyz, Å) of the grid of `step` Å that covers the voxel centres of `density`.

    A map that already has this step keeps its own grid. Otherwise, points lie at whole multiples of `step` along the
    map's axes, whatever the map's origin: crops of one map then share their points, and a file can hold the origin as
    whole voxels (NSTART).
    """
    if has_step(density, step):
        return density.shape, density.origin
    first = np.asarray(density.origin) @ density.rotation  # position of voxel [0, 0, 0] along the grid's own axes
    last = first + np.asarray(density.step) * (np.asarray(density.shape[::-1]) - 1)
    start = np.floor(first / step + WHOLE)
    stop = np.ceil(last / step - WHOLE)
    nx, ny, nz = (int(n) for n in stop - start + 1)
    x, y, z = (float(v) for v in density.rotation @ (start * step))
    return (nz, ny, nx), (x, y, z)


def resample(density: DensityMap, step: float = 1.0) -> DensityMap:
    """Resample a map to cubic voxels of `step` Å that cover its whole box.

    A map that already has this voxel size (within 0.1 %) is returned unchanged, with its own step: positions do not
    drift, since they are always computed from the step.

    Memory: the input, the output and one intermediate; a 400³ map of 1.3 Å voxels needs about 1.5 GB.
    """
    if has_step(density, step):
        return density
    shape, origin = grid_shape_origin(density, step)
    array = _resample_axes(density, shape, origin, (step, step, step))
    return DensityMap(array, origin, (step, step, step), density.rotation, density.name)


def resample_onto(density: DensityMap, like: DensityMap) -> DensityMap:
    """Resample a map to the grid of another one, wherever that lies; density outside of the map is zero.

    Raises
    ------
    ValueError
        If the axes of the two grids have different directions.
    """
    if not np.allclose(density.rotation, like.rotation, atol=1e-6):
        raise ValueError(f"the axes of {density.name} and {like.name} have different directions")
    array = _resample_axes(density, like.shape, like.origin, like.step)
    return DensityMap(array, like.origin, like.step, like.rotation, density.name)


def _resample_axes(
    density: DensityMap, shape: Sequence[int], origin: Sequence[float], step: Sequence[float]
) -> np.ndarray:
    """Return density (nz, ny, nx) on a grid with the axes of `density` and given shape (zyx), origin and step (xyz)."""
    shift = density.rotation.T @ (np.asarray(origin) - density.origin)
    array = density.array
    for axis in range(3):  # axes of the array: z, y, x
        old, new = density.step[2 - axis], step[2 - axis]
        points = (shift[2 - axis] + new * np.arange(shape[axis])) / old
        if len(points) == array.shape[axis] and np.abs(points - np.arange(len(points))).max() < WHOLE:
            continue
        array = _apply(_matrix(points, array.shape[axis], max(1.0, new / old)), array, axis)
    return array


def _matrix(points: np.ndarray, size: int, stretch: float) -> sparse.csr_matrix:
    """Return weights (len(points), size) that interpolate `size` samples at `points`, in voxels.

    `stretch` is the width of the sinc in voxels; a value over 1 smooths. Up to one voxel of the coarser grid beyond the
    ends, the outermost samples are repeated; points farther out get zero. All other rows sum to 1, so that flat density
    stays flat.
    """
    taps = int(np.ceil(HALF_WIDTH * stretch))
    columns = np.floor(points).astype(int)[:, None] + np.arange(1 - taps, taps + 1)
    x = (points[:, None] - columns) / stretch
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (x / HALF_WIDTH) ** 2, 0, 1))) * (np.abs(x) < HALF_WIDTH)
    weights = np.sinc(x) * window
    weights /= weights.sum(axis=1, keepdims=True)
    weights[(points < -stretch - WHOLE) | (points > size - 1 + stretch + WHOLE)] = 0
    rows = np.repeat(np.arange(len(points)), columns.shape[1])
    columns = np.clip(columns, 0, size - 1)
    return sparse.csr_matrix((weights.ravel().astype(np.float32), (rows, columns.ravel())), (len(points), size))


def _apply(matrix: sparse.csr_matrix, array: np.ndarray, axis: int) -> np.ndarray:
    """Multiply one `axis` (of length m) of a 3D array by a sparse `matrix` (n, m)."""
    shape = list(array.shape)
    shape[axis] = matrix.shape[0]
    out = np.empty(shape, np.float32)
    other = 1 if axis == 0 else 0
    for plane, result in zip(np.moveaxis(array, other, 0), np.moveaxis(out, other, 0), strict=True):  # no second copy of the map
        result[:] = (matrix @ np.ascontiguousarray(plane.T)).T if axis == 2 else matrix @ plane
    return out
