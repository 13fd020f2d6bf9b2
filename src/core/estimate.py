"""Estimates of a run before it starts: time, by timing a batch, and memory, of the computer and its GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import tiles
from .density import DensityMap
from .devices import Device, DeviceError, choose, instead_of
from .memory import main_memory
from .predict import Cancelled, orientations
from .resample import grid_shape_origin
from .runner import Runner, default_batch

if TYPE_CHECKING:
    from ..nets.store import Model

TRIAL = 64  # voxels; longest edge of the tile that is timed on a CPU
FINISHING = 0.3e-6  # seconds per 1 Å voxel for filters and grids after the network (one core: 0.2e-6, or 0.4e-6 with reliability)


@dataclass(frozen=True)
class Estimate:
    """What a run will take at most (empty tiles are skipped).

    Attributes
    ----------
    tiles, seconds, device
    memory
        Peak main memory in bytes, beyond what ChimeraX and PyTorch already hold.
    gpu_memory
        GPU memory in bytes; 0 on the CPU.
    """

    tiles: int
    memory: int
    gpu_memory: int
    seconds: float
    device: Device


def estimate(
    density: DensityMap,
    model: Model,
    tiling: str | tiles.Tiling = "normal",
    device: str = "auto",
    *,
    rotations: int | None = None,
    batch_size: int | None = None,
    grid: str = "1A",
    cancelled: Callable[[], bool] = lambda: False,
) -> Estimate:
    """Estimate a run of `enhance` with no tile skipped, by running a batch twice and timing the second run.

    On a CPU, where a large tile takes many seconds, a single smaller tile is run, and time and memory are scaled by the
    number of voxels. As in a run, the CPU is used if `device` is "auto" and a GPU lacks what the network needs. Only the
    geometry of `density` counts, so an outline without values will do. `cancelled()` is called before every layer.

    Raises
    ------
    MapError, DeviceError, ValueError
        As `enhance`.
    Cancelled
        If `cancelled` returned True.
    """
    chosen, _ = choose(device)
    rotations = orientations(rotations, model.card)
    try:
        return _estimate(density, model, tiling, chosen, rotations, batch_size, grid, cancelled)
    except DeviceError:
        other = instead_of(chosen, device)
        if other is None:
            raise
        return _estimate(density, model, tiling, other, rotations, batch_size, grid, cancelled)


def _estimate(
    density: DensityMap, model: Model, tiling: str | tiles.Tiling, chosen: Device, rotations: int, batch_size: int | None,
    grid: str, cancelled: Callable[[], bool],
) -> Estimate:
    def tick(_part: float) -> None:
        if cancelled():
            raise Cancelled("The estimate was cancelled.")

    shape, _ = grid_shape_origin(density)
    plan = tiles.plan(shape, tiles.tiling_for(tiling, model.card.tile, model.card.margin))
    at_once = min(batch_size or default_batch(chosen, plan.size), len(plan))
    on_cpu = chosen.name == "cpu"
    runner = Runner(model.network, chosen, 1 if on_cpu else at_once, 1)
    trial = tuple(min(n, TRIAL) for n in plan.size) if on_cpu else plan.size
    larger = float(np.prod(plan.size) / np.prod(trial))
    runs = 0
    try:
        while runs < 2:  # a batch that ran out of memory does not count
            batch = np.zeros((runner.batch_size, *trial), np.float32)
            started = time.monotonic()
            runs += runner(batch, tick) is not None
            per_tile = larger * (time.monotonic() - started) / len(batch)
        network = runner.memory(larger * at_once if on_cpu else larger)
    finally:
        runner.release()
    memory = main_memory(density, grid, network if on_cpu else 0)
    seconds = per_tile * len(plan) * rotations + FINISHING * float(np.prod(shape))
    return Estimate(len(plan), memory, 0 if on_cpu else network, seconds, chosen)
