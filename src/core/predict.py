"""Running a network over a whole map: resample, normalise, tile, predict, blend, rescale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import tiles
from .density import DensityMap, MapError, check
from .devices import Device, DeviceError, choose, free_memory, import_torch
from .normalise import NORMALISATIONS
from .resample import grid_shape_origin, resample, resample_onto
from .sharpness import limit

if TYPE_CHECKING:
    import torch

    from ..nets.store import Model

Progress = Callable[[int, int], "bool | None"]

GRIDS = ("1A", "input")
RESOLUTIONS = (1.0, 30.0)  # Å, that a map may be said to have
VOXELS_AT_ONCE = {"cuda": 2**22, "mps": 2**20}  # of a batch; on the CPU one tile, so that Cancel is heard soon
MAPS_IN_MEMORY = 6  # arrays of the 1 Å map that are held at the worst moment

# The proper rotations of the cube: permutations of the axes and axes to reverse, an even number of swaps and reversals in all
# (an odd number would mirror the molecule). In this order the first 4 are half turns about the axes and the first 8 lie at
# 120 degrees or more from each other: each leading subset is as spread out as it can be.
_EVEN = [((0, 1, 2), f) for f in ((), (0, 1), (0, 2), (1, 2))]
_CYCLIC = [(p, f) for p in ((1, 2, 0), (2, 0, 1)) for f in ((), (0, 1), (0, 2), (1, 2))]
_SWAPPED = [(p, f) for p in ((0, 2, 1), (2, 1, 0), (1, 0, 2)) for f in ((0,), (1,), (2,), (0, 1, 2))]
ROTATIONS = _EVEN + _CYCLIC + _SWAPPED
ROTATION_COUNTS = (1, 4, 8, 24)


class Cancelled(Exception):
    """The progress callback asked to stop."""


@dataclass(frozen=True)
class Report:
    """What was done, for the log and for the file that goes with a map."""

    model: str
    weights_sha256: str
    device: str
    device_name: str
    device_reason: str
    normalisation: str
    tiling: tiles.Tiling
    grid: str
    resolution: float | None  # Å: as given or found; None for a model that makes no use of it
    rotations: int
    batch_size: int
    tiles_run: int
    tiles_skipped: int
    seconds: float
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Device, model, tiles and time in one line."""
        count = self.tiles_run + self.tiles_skipped
        share = 100 * self.tiles_skipped / count
        turns = f" in {self.rotations} orientations" if self.rotations > 1 else ""
        sharp = f" As sharp as an input of {self.resolution:.1f} Å allows." if self.resolution else ""
        return (f"Model {self.model} on {self.device} ({self.device_reason}): {self.tiles_run} of {count} tiles run{turns}, "
                f"{self.tiles_skipped} empty ones skipped ({share:.0f} %), {self.seconds:.1f} s.{sharp}")


@dataclass(frozen=True)
class Enhanced:
    """A super-resolved map, and how it was made."""

    density: DensityMap
    report: Report


@dataclass(frozen=True)
class Estimate:
    """What a run will take at most (empty tiles are skipped): tiles, main memory in bytes, seconds."""

    tiles: int
    memory: int
    seconds: float
    device: Device


def enhance(
    density: DensityMap,
    model: Model,
    *,
    tiling: str | tiles.Tiling = "normal",
    device: str = "auto",
    batch_size: int | None = None,
    skip_empty: bool = True,
    rotations: int = 1,
    grid: str = "1A",
    resolution: float | None = None,
    progress: Progress | None = None,
) -> Enhanced:
    """Super-resolve a map.

    Parameters
    ----------
    density : DensityMap
        The map as it was deposited, at any voxel size.
    model : Model
        Network and card, from `nets.store.load`.
    tiling : str or Tiling
        "normal", "fast" or "paper", or a tiling of one's own.
    device : str
        "auto", "cuda", "cuda:N", "mps" or "cpu".
    batch_size : int, optional
        Tiles to predict at once; halved whenever memory runs out.
    skip_empty : bool
        Leave out tiles without density; their voxels get the solvent level.
    rotations : int
        Average the predictions in 1, 4, 8 or 24 orientations of the map.
    grid : {"1A", "input"}
        Return the map on the 1 Å grid of the prediction, or on the grid of `density`.
    resolution : float, optional
        Of the map, Å; it decides how sharp the prediction may be. Without it, the resolution down to which input
        and prediction agree is used.
    progress : callable, optional
        ``progress(done, total)``, called before every layer and after every batch; returning False stops the work.

    Raises
    ------
    MapError
        If the map cannot be worked on, or memory does not suffice.
    DeviceError
        If PyTorch or the device cannot be used.
    Cancelled
        If `progress` returned False.
    """
    started = time.monotonic()
    if rotations not in ROTATION_COUNTS:
        raise ValueError(f"rotations can be {', '.join(map(str, ROTATION_COUNTS))}, not {rotations}")
    if grid not in GRIDS:
        raise ValueError(f"grid can be {' or '.join(GRIDS)}, not {grid!r}")
    if resolution is not None and not RESOLUTIONS[0] <= resolution <= RESOLUTIONS[1]:
        raise MapError(f"A resolution of {resolution:g} Å is not between {RESOLUTIONS[0]:g} and {RESOLUTIONS[1]:g} Å.")
    check(density)
    card = model.card
    cutting = tiles.tiling_for(tiling, card.tile, card.margin)
    chosen, reason = choose(device)
    _require_memory(density)
    try:
        small = resample(density)
        scale = NORMALISATIONS[card.normalisation](small.array)
        array = scale.apply(small.array)
        plan = tiles.plan(small.shape, cutting)
        mask = tiles.occupied(array, plan)
        if not skip_empty or not mask.any():  # where nothing stands out, the network is to judge
            mask[:] = True
        runner = _Runner(model.network, chosen, batch_size or default_batch(chosen, plan.size), rotations)
        predicted = _predict(array, plan, mask, runner, progress)
        predicted, found = limit(array, predicted, card.blur, resolution)
        del array
        result = DensityMap(scale.restore(predicted), small.origin, small.step, small.rotation)
        if grid == "input":
            result = resample_onto(result, density)
    except MemoryError as error:
        raise MapError(f"{density.name} does not fit in memory; choose a subregion of it.") from error
    result = DensityMap(result.array, result.origin, result.step, result.rotation, f"{density.name} superem")
    run = int(mask.sum())
    return Enhanced(result, Report(
        card.name, model.sha256, chosen.label, chosen.name, reason, card.normalisation, cutting, grid, found, rotations,
        runner.batch_size, run, len(plan) - run, time.monotonic() - started, tuple(runner.notes)))


def estimate(
    shape: tuple[int, int, int],
    model: Model,
    tiling: str | tiles.Tiling = "normal",
    device: str = "auto",
    rotations: int = 1,
) -> Estimate:
    """Foretell a run on a map of `shape` (zyx, 1 Å voxels) with nothing skipped, by timing a batch after a first, untimed one.

    Raises
    ------
    MapError, DeviceError
        As `enhance`.
    """
    chosen, _ = choose(device)
    plan = tiles.plan(shape, tiles.tiling_for(tiling, model.card.tile, model.card.margin))
    runner = _Runner(model.network, chosen, min(default_batch(chosen, plan.size), len(plan)), 1)
    runs = 0
    while runs < 2:  # a batch that ran out of memory does not count
        batch = np.zeros((runner.batch_size, *plan.size), np.float32)
        started = time.monotonic()
        runs += runner(batch, lambda: None) is not None
        per_tile = (time.monotonic() - started) / len(batch)
    memory = 4 * MAPS_IN_MEMORY * int(np.prod(shape))
    return Estimate(len(plan), memory, per_tile * len(plan) * rotations, chosen)


def default_batch(device: Device, size: tuple[int, int, int]) -> int:
    """Tiles of `size` voxels (zyx) to predict at once on a device."""
    return max(1, VOXELS_AT_ONCE.get(device.name.partition(":")[0], 0) // int(np.prod(size)))


def _require_memory(density: DensityMap) -> None:
    """Refuse a map whose 1 Å copy cannot fit, before anything is allocated."""
    shape, _ = grid_shape_origin(density, 1.0)
    voxels = 1
    for n in shape:
        voxels *= n
    need, free = 4 * MAPS_IN_MEMORY * voxels, free_memory()
    if free is not None and need > free:
        nz, ny, nx = shape
        raise MapError(f"{density.name} is {nx} x {ny} x {nz} voxels at 1 Å and needs about {need / 2**30:.1f} GB of "
                       f"memory, but {free / 2**30:.1f} GB are free; check its voxel size, or choose a subregion.")


def _predict(array: np.ndarray, plan: tiles.Plan, mask: np.ndarray, runner: _Runner, progress: Progress | None) -> np.ndarray:
    """Prediction for an array (nz, ny, nx), both in network units; zero where `mask` leaves tiles out."""
    wanted = list(tiles.chosen(mask))
    turns = runner.rotations
    done, total = 0, len(wanted) * turns

    def tick(count: int = 0) -> None:
        nonlocal done
        done += count
        if progress is not None and progress(done, total) is False:
            raise Cancelled("The work was cancelled.")

    tick()
    out = np.zeros(array.shape, np.float32)
    start = 0
    while start < len(wanted):
        part = wanted[start : start + runner.batch_size]
        before = done
        predicted = runner(np.stack([tiles.cut(array, plan, index) for index in part]), tick)
        if predicted is None:  # memory ran out; the batch size has been halved
            done = before
            continue
        for tile, index in zip(predicted, part, strict=True):
            tiles.blend(out, tile, plan, index)
        start += len(part)
        tick(len(part) * turns - (done - before))
    if not np.isfinite(out).all():
        raise MapError("The model gave values that are not numbers; its weights file may be damaged.")
    return out


class _Runner:
    """A network on a device: predicts batches of tiles, and makes do with the memory there is."""

    def __init__(self, network: torch.nn.Module, device: Device, batch_size: int, rotations: int) -> None:
        self.torch = import_torch()
        self.device = device
        self.batch_size = max(1, batch_size)
        self.rotations = rotations
        self.notes: list[str] = []
        try:
            self.network = network.to(device.name)
        except RuntimeError as error:
            raise DeviceError(f"The model could not be moved to {device.label}: {error}") from error

    def __call__(self, batch: np.ndarray, tick: Callable[[], None]) -> np.ndarray | None:
        """Predict a batch (B, D, H, W); `tick` is called before every layer, so that a slow machine still hears Cancel.

        Returns None, with `batch_size` halved and a note made, if memory ran out.

        Raises
        ------
        MapError
            If memory runs out for a single tile.
        DeviceError
            If the device lacks an operation that the network needs.
        """
        leaves = [m for m in self.network.modules() if not any(m.children())]
        hooks = [m.register_forward_pre_hook(lambda *_: tick()) for m in leaves]
        try:
            return self._forward(batch)
        except NotImplementedError as error:
            raise DeviceError(f"PyTorch cannot run this model on {self.device.label}; use device cpu.") from error
        except (RuntimeError, MemoryError) as error:
            if not _ran_out_of_memory(error):
                raise
        finally:
            for hook in hooks:
                hook.remove()
        # Outside of the handler: the error holds on to the tensors that filled the memory.
        if self.device.name.startswith("cuda"):
            self.torch.cuda.empty_cache()
        if len(batch) == 1:
            size = " x ".join(str(n) for n in batch.shape[:0:-1])
            raise MapError(f"Memory of {self.device.label} does not suffice for one tile of {size} voxels; close other "
                           "programs that use it, or use another device.")
        self.batch_size = len(batch) // 2
        self.notes.append(f"Memory ran out with {len(batch)} tiles at once; went on with {self.batch_size}.")
        return None

    def _forward(self, batch: np.ndarray) -> np.ndarray:
        torch = self.torch
        with torch.inference_mode():
            x = torch.from_numpy(batch)[:, None].to(self.device.name)
            total = torch.zeros_like(x)
            for order, flips in ROTATIONS[: self.rotations]:
                turned = x.permute(0, 1, *(a + 2 for a in order)).flip([a + 2 for a in flips]).contiguous()
                y = self.network(turned).flip([a + 2 for a in flips])
                total += y.permute(0, 1, *(order.index(a) + 2 for a in range(3)))
            return (total[:, 0] / self.rotations).float().cpu().numpy()


def _ran_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, in the words of any of PyTorch's devices."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory", "cudnn_status_alloc_failed"))
