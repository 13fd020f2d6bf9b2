"""Main memory: what a run on a map needs, and whether it is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import limits
from .density import DensityMap, MapError
from .resample import grid_shape_origin, has_step

AT_MOST = 8  # arrays of the size of the 1 Å map that are held at the worst moment, after the network has run (measured: 6.9)


def free_memory() -> int | None:
    """Bytes of main memory that a program may still take: all there is on a Mac, None where the system does not say."""
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
    """Bytes of main memory that a run takes at its worst moment, where the network itself takes `network` of them.

    Only the geometry of `density` counts, so an outline without values will do.
    """
    nz, ny, nx = grid_shape_origin(density)[0]
    small, own = 4 * nz * ny * nx, 4 * density.array.size
    if has_step(density):
        own = 0  # it is itself the map that is worked on
    # What the network took is not always given back to the system before the worst moment of the maps, so both count.
    return own * (2 if grid == "input" else 1) + AT_MOST * small + network


def require_memory(density: DensityMap, grid: str = "1A") -> None:
    """Refuse a map that cannot be worked on in the memory that is free, before anything is allocated.

    Raises
    ------
    MapError
        With both figures.
    """
    nz, ny, nx = grid_shape_origin(density)[0]
    require(main_memory(density, grid), f"{density.name} is {nx} x {ny} x {nz} voxels at 1 Å and", "check its voxel size, or "
            "work on a part of it")


def require(need: int, subject: str, advice: str) -> None:
    """Raise a MapError that begins with `subject` and ends with `advice`, if less than `need` bytes of memory are free."""
    free = free_memory()
    if free is not None and need > free:
        raise MapError(f"{subject} needs about {need / 2**30:.1f} GB of memory, but {free / 2**30:.1f} GB are free; {advice}.")
