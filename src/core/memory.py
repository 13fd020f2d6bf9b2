"""Main memory: what a run on a map needs, and whether it is available."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import limits
from .density import DensityMap, MapError
from .resample import grid_shape_origin, has_step

PEAK_ARRAYS = 8  # arrays of the size of the 1 Å map held at the peak, after the network has run (measured: 6.9)


def free_memory() -> int | None:
    """Return the free main memory in bytes, on a Mac all that is installed; None if the system does not say."""
    if sys.platform == "darwin":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free, allowed = int(line.split()[1]) * 1024, limits.memory()
                return free if allowed is None else min(free, allowed)
    return None


def main_memory(density: DensityMap, grid: str = "1A", network: int = 0) -> int:
    """Return the bytes of main memory that a run takes at its peak, including `network` bytes for the network itself.

    Only the geometry of `density` counts, so an outline without values will do.
    """
    nz, ny, nx = grid_shape_origin(density)[0]
    small, own = 4 * nz * ny * nx, 4 * density.array.size
    if has_step(density):
        own = 0  # the input itself serves as the 1 Å map
    # On the input's grid, the result and the expected Q-scores come in addition, or the copy of the result that is sorted
    # for its contour level. The network's memory is not always returned to the system before that, so it counts, too.
    return own * (3 if grid == "input" else 1) + PEAK_ARRAYS * small + network


def require_memory(density: DensityMap, grid: str = "1A") -> None:
    """Raise an error if a run on a map needs more memory than is free, before anything is allocated.

    Raises
    ------
    MapError
        With both figures.
    """
    nz, ny, nx = grid_shape_origin(density)[0]
    require(main_memory(density, grid), f"{density.name} is {nx} x {ny} x {nz} voxels at 1 Å and", "check its voxel size, or "
            "work on a part of it")


def require(need: int, subject: str, advice: str) -> None:
    """Raise a MapError that begins with `subject` and ends with `advice` if fewer than `need` bytes of memory are free."""
    free = free_memory()
    if free is not None and need > free:
        raise MapError(f"{subject} needs about {need / 2**30:.1f} GB of memory, but {free / 2**30:.1f} GB are free; {advice}.")
