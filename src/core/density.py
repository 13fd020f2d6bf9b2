"""The density map that all of the code works on: an array of density and its position in space."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

WHOLE = 1e-4  # voxels; an index this close to a whole number counts as whole
SAMPLE = 2_000_000  # voxels in an even sample; gives ranks to three digits, quickly for a map of any size
MIN_VOXEL, MAX_VOXEL = 0.1, 20.0  # Å; a voxel size outside this range is an error in the header


class MapError(ValueError):
    """A map that cannot be used; the message is one clear sentence for the user."""


@dataclass(frozen=True)
class DensityMap:
    """A density map on a rectangular grid.

    This class is the one place that relates array indices (zyx) to positions (xyz): the centre of voxel
    ``array[k, j, i]`` lies at ``rotation @ (step * (i, j, k)) + origin``.

    Parameters
    ----------
    array : ndarray, (nz, ny, nx)
        Density; stored as float32.
    origin : 3 floats
        Position of the centre of voxel [0, 0, 0], xyz in Å.
    step : 3 floats
        Voxel size along the grid's x, y and z axes, in Å.
    rotation : ndarray, (3, 3)
        Columns are the directions of the grid's x, y and z axes.
    name : str
        The user's name for the map; used in messages.

    Raises
    ------
    MapError
        If the array is not three-dimensional or is complex, a voxel size lies outside of `MIN_VOXEL` to `MAX_VOXEL`, or
        the origin is not finite.
    """

    array: np.ndarray
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    step: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    name: str = "map"

    def __post_init__(self) -> None:
        """Convert the fields to their declared types, and check the geometry."""
        array = np.asarray(self.array)
        if array.ndim != 3:
            raise MapError(f"{self.name} has {array.ndim} dimensions; SuperEM needs one three-dimensional map.")
        if np.iscomplexobj(array):
            raise MapError(f"{self.name} holds complex numbers (a Fourier transform?); SuperEM needs real density.")
        step = tuple(float(s) for s in self.step)
        if not all(MIN_VOXEL <= s <= MAX_VOXEL for s in step):  # NaN fails too
            size = " x ".join(f"{s:.4g}" for s in step)
            raise MapError(f"{self.name} has a voxel size of {size} Å, which cannot be right "
                           f"({MIN_VOXEL:g} to {MAX_VOXEL:g} Å is expected); correct the voxel size first.")
        origin = tuple(float(o) for o in self.origin)
        if not np.all(np.isfinite(origin)):
            raise MapError(f"{self.name} has an origin that is not a finite number; correct its header first.")
        if array.dtype != np.float32 or any(array.strides):  # do not expand an outline, one value broadcast to a shape
            array = np.ascontiguousarray(array, dtype=np.float32)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "rotation", np.asarray(self.rotation, dtype=float).reshape(3, 3))

    @property
    def finest(self) -> float:
        """Nyquist resolution in Å, the finest that the voxels can hold: twice their largest edge."""
        return 2 * max(self.step)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (nz, ny, nx)."""
        nz, ny, nx = self.array.shape
        return nz, ny, nx

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in Å³."""
        return float(np.prod(self.step))

    def positions(self, ijk: np.ndarray) -> np.ndarray:
        """Return the positions (..., 3) in Å of grid indices (..., 3), both in xyz order; indices may be fractional."""
        return (np.asarray(ijk, dtype=float) * self.step) @ self.rotation.T + self.origin

    def indices(self, xyz: np.ndarray) -> np.ndarray:
        """Return the fractional grid indices (..., 3) of positions (..., 3) in Å, both in xyz order."""
        return (np.asarray(xyz, dtype=float) - self.origin) @ self.rotation / self.step


def crop(density: DensityMap, part: DensityMap) -> DensityMap:
    """Return the grid points of `density` that cover the voxel centres of `part`, whose grid has the same axes."""
    corners = density.indices(part.positions(np.array([(0, 0, 0), np.subtract(part.shape[::-1], 1)])))
    first = np.maximum(np.floor(corners[0] + WHOLE), 0).astype(int)
    stop = np.ceil(corners[1] - WHOLE).astype(int) + 1
    inside = tuple(slice(a, b) for a, b in zip(first[::-1], stop[::-1], strict=True))
    x, y, z = (float(v) for v in density.positions(first))
    return DensityMap(density.array[inside], (x, y, z), density.step, density.rotation, density.name)


def check(density: DensityMap) -> None:
    """Raise an error for density from which no prediction can be made.

    Raises
    ------
    MapError
        If the map is a single plane, has values that are not finite, is constant, or has no positive density.
    """
    array, name = density.array, density.name
    if min(array.shape) < 2:
        nz, ny, nx = array.shape
        raise MapError(f"{name} is {nx} x {ny} x {nz} voxels: a single plane is not a three-dimensional map.")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        raise MapError(f"{name} has values that are not finite numbers (NaN or infinite) in {bad:,} of {array.size:,} voxels; "
                       "replace them, for instance with zero, first.")
    if low == high:
        raise MapError(f"{name} has the same density, {low:g}, in every voxel; there is nothing to enhance.")
    if high <= 0:
        raise MapError(f"{name} has no positive density; if its contrast is inverted, multiply it by -1 first.")


def common_value(array: np.ndarray) -> np.float32:
    """Return the minimum of an array if it is larger than the range of the values, else zero.

    Near 1000, single precision has steps of 6e-5; once this value is subtracted, sums and ranks lose no precision.
    """
    low, high = float(array.min()), float(array.max())
    return np.float32(low if low > high - low else 0)


def sampled(array: np.ndarray) -> np.ndarray:
    """Return values (n,) of an array at even intervals: about `SAMPLE` of a larger array, all of a smaller one."""
    flat = array.ravel()
    return flat[:: max(1, flat.size // SAMPLE) | 1]  # odd, or the sample of a box of even size might hold only some of its planes
