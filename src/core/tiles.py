"""Cutting of a map into overlapping tiles, and blending of the predictions for them into one map.

A blending weight is the product of one window per axis, and the windows of each axis sum to 1 at every voxel of the
map. So no map of summed weights is needed, and skipped tiles blend to zero at their edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

EMPTY = 0.02  # network units (1 is strong density); values this close to zero are not density
NOISE_LIMIT = 0.15  # network units; a mean density above this is never skipped, whatever the noise
NOISE_DEVIATIONS = 5  # standard deviations of the noise that fills a box, above which there is density
NOISE_WINDOW = 5  # voxels over which density is averaged to tell it from noise
GRANULE = 8  # voxels; networks that halve their grid need no padding for tile sizes that are multiples of this


@dataclass(frozen=True)
class Tiling:
    """How a map is cut into tiles; all lengths in voxels.

    Parameters
    ----------
    size : int
        Edge of a tile.
    stride : int
        Distance between neighbouring tiles.
    margin : int
        Width of the outer shell of a tile that is context only: the network sees too little there for its prediction to
        be used.
    window : {"taper", "mean"}
        Weights inside the margin: falling smoothly over the overlap with neighbours, or constant.
    """

    size: int
    stride: int
    margin: int = 0
    window: str = "taper"

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown window, and for tiles that would leave gaps."""
        if self.window not in ("taper", "mean"):
            raise ValueError(f"a window is 'taper' or 'mean', not {self.window!r}")
        if self.size < 1 or self.margin < 0 or not 1 <= self.stride <= self.core:
            raise ValueError(f"tiles of {self.size} voxels with a margin of {self.margin} cannot be {self.stride} apart")

    @property
    def core(self) -> int:
        """Edge of the part of a tile whose prediction is used."""
        return self.size - 2 * self.margin


PAPER = Tiling(25, 4, 0, "mean")  # SuperEM paper, Methods
PRESETS = ("normal", "fast", "paper")


def tiling_for(tiling: str | Tiling, size: int, margin: int) -> Tiling:
    """Return the tiling of a preset for a network that prefers tiles of `size` voxels with `margin`; return a Tiling unchanged.

    "normal" uses the network's own margin, "fast" half of it; cores overlap by 8 voxels, or by a quarter of a small
    core. "paper" is `PAPER` for any network.

    Raises
    ------
    ValueError
        If there is no preset of that name.
    """
    if isinstance(tiling, Tiling):
        return tiling
    if tiling not in PRESETS:
        raise ValueError(f"There is no tiling {tiling!r}; choose one of {', '.join(PRESETS)}.")
    if tiling == "paper":
        return PAPER
    margin = margin if tiling == "normal" else margin // 2
    core = size - 2 * margin
    return Tiling(size, max(1, core - min(GRANULE, core // 4)), margin)


@dataclass(frozen=True)
class Plan:
    """Tiles of one map, for each axis (zyx): their edge, their first voxels (may be negative) and their windows (n, edge)."""

    size: tuple[int, int, int]
    starts: tuple[np.ndarray, np.ndarray, np.ndarray]
    windows: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of tiles along each axis (zyx)."""
        nz, ny, nx = (len(s) for s in self.starts)
        return nz, ny, nx

    def __len__(self) -> int:
        """Return the number of tiles."""
        return int(np.prod(self.counts))


def plan(shape: tuple[int, int, int], tiling: Tiling) -> Plan:
    """Return tiles that cover a map of `shape` (zyx) completely; at its borders, the tiles' margins lie outside of the map.

    Tapered tiles are shrunk, if possible in steps of 8 voxels, as far as the same number of them still covers the map.
    """
    axes = [_plan_axis(n, tiling) for n in shape]
    size, starts, windows = zip(*axes, strict=True)
    return Plan(size, starts, windows)


def _plan_axis(length: int, tiling: Tiling) -> tuple[int, np.ndarray, np.ndarray]:
    """Return edge, starts (n,) and windows (n, edge) of the tiles along one axis."""
    overlap = tiling.core - tiling.stride
    count = max(1, -(-(length - overlap) // tiling.stride))
    if tiling.window == "taper":
        granule = GRANULE if tiling.size % GRANULE == 0 and tiling.stride % GRANULE == 0 else 1
        size = length + 2 * tiling.margin if count == 1 else -(-(length - overlap) // count) + tiling.size - tiling.stride
        saved = (tiling.size - size) // granule * granule
        tiling = replace(tiling, size=tiling.size - saved, stride=max(1, tiling.stride - saved))
    starts = np.arange(count) * tiling.stride - tiling.margin
    weight = np.zeros(tiling.size)
    weight[tiling.margin : tiling.margin + tiling.core] = 1
    if tiling.window == "taper":
        ramp = min(overlap, tiling.core // 2)
        rise = np.sin((np.arange(ramp) + 0.5) / max(ramp, 1) * np.pi / 2) ** 2
        weight[tiling.margin : tiling.margin + ramp] = rise
        weight[tiling.size - tiling.margin - ramp : tiling.size - tiling.margin] = rise[::-1]
    index = starts[:, None] + np.arange(tiling.size)
    inside = (index >= 0) & (index < length)
    windows = np.where(inside, weight, 0)
    total = np.zeros(length)
    np.add.at(total, index[inside], windows[inside])
    windows[inside] /= total[index[inside]]
    return tiling.size, starts, windows.astype(np.float32)


def occupied(array: np.ndarray, tiles: Plan) -> np.ndarray:
    """Return which tiles (bool, with the shape of `Plan.counts`) hold any density, for an array in network units.

    Margins count, so a tile is skipped only if no density lies within the width of the margin from any voxel that it
    would predict. In a masked map, density is any value farther than `EMPTY` from zero. If solvent noise fills the box,
    density is what stands out of the noise after averaging over 5³ voxels, which shows weak domains that single voxels
    do not.
    """
    hit = _density(array)
    for axis, starts in enumerate(tiles.starts):
        slabs = [slice(max(s, 0), s + tiles.size[axis]) for s in starts]
        hit = np.stack([np.moveaxis(hit, axis, 0)[slab].any(axis=0) for slab in slabs], axis=axis)
    return hit


def _density(array: np.ndarray) -> np.ndarray:
    """Return where (bool) an array in network units holds density."""
    if _deviation(array) > EMPTY and min(array.shape) > 2 * NOISE_WINDOW:  # a smaller map is all border
        array = ndimage.uniform_filter(array, NOISE_WINDOW, mode="constant")
    level = min(max(EMPTY, NOISE_DEVIATIONS * _deviation(array)), NOISE_LIMIT)
    return (array > level) | (array < -level)


def _deviation(array: np.ndarray) -> float:
    """Return the standard deviation of solvent noise, from the median distance to zero in a sample; zero in a masked map."""
    return float(np.median(np.abs(array[::2, ::2, ::2]))) / 0.6745  # median distance from zero of standard Gaussian noise


def noisy(array: np.ndarray) -> bool:
    """Return whether solvent noise fills the box of an array in network units, that is, whether the map is not masked."""
    return _deviation(array) > EMPTY


def cut(array: np.ndarray, tiles: Plan, index: Sequence[int] | np.ndarray, mirror: bool = False) -> np.ndarray:
    """Return tile `index` of an array, float32; outside of the array it is zero or, if `mirror` is true, the mirror image.

    `mirror` is for noisy maps: noise that ends at the border of a box would look like a masked molecule.
    """
    if mirror:
        axes = (_mirrored(int(starts[n]), size, length) for length, size, starts, n in
                zip(array.shape, tiles.size, tiles.starts, index, strict=True))
        return array[np.ix_(*axes)].astype(np.float32, copy=False)
    tile = np.zeros(tiles.size, np.float32)
    there, here = _overlap(array.shape, tiles, index)
    tile[here] = array[there]
    return tile


def _mirrored(start: int, size: int, length: int) -> np.ndarray:
    """Return indices (size,) that begin at `start` on an axis of `length` and are reflected at both of its ends."""
    index = np.arange(start, start + size) % max(2 * length - 2, 1)
    return np.where(index < length, index, 2 * length - 2 - index)


def blend(out: np.ndarray, tile: np.ndarray, tiles: Plan, index: Sequence[int] | np.ndarray) -> None:
    """Add the weighted prediction for tile `index` to `out`, in place."""
    there, here = _overlap(out.shape, tiles, index)
    wz, wy, wx = (window[n][part] for window, n, part in zip(tiles.windows, index, here, strict=True))
    out[there] += tile[here] * (wz[:, None, None] * wy[:, None] * wx)


def _overlap(
    shape: tuple[int, ...], tiles: Plan, index: Sequence[int] | np.ndarray
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where tile `index` meets an array of `shape`, as slices of the array and of the tile."""
    there, here = [], []
    for length, size, starts, n in zip(shape, tiles.size, tiles.starts, index, strict=True):
        start = int(starts[n])
        low, high = max(start, 0), min(start + size, length)
        there.append(slice(low, high))
        here.append(slice(low - start, high - start))
    return tuple(there), tuple(here)
