"""Prediction of a whole map: resample, normalise, tile, run the network, blend, limit the sharpness, rescale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import set_workers

from . import tiles
from .density import DensityMap, MapError, check, common_value
from .devices import Device, DeviceError, choose, import_torch, instead_of
from .doubts import reason_to_doubt, remarks
from .memory import require_memory
from .normalise import NORMALISATIONS
from .reliability import expected_q
from .resample import resample, resample_onto
from .runner import ROTATION_COUNTS, Runner, default_batch
from .sharpness import limit

if TYPE_CHECKING:
    from ..nets.store import Card, Model

Progress = Callable[[float, int], "bool | None"]

GRIDS = ("1A", "input")
RESOLUTIONS = (1.0, 30.0)  # Å, range of resolutions that may be given for a map


class Cancelled(Exception):
    """Raised when the progress callback asks to stop."""


@dataclass(frozen=True)
class Report:
    """Record of a prediction, for the log and for the JSON file that accompanies a map."""

    model: str
    weights_sha256: str
    device: str
    device_name: str
    device_reason: str
    normalisation: str
    tiling: tiles.Tiling
    grid: str
    resolution: float | None  # Å, given or found; None if the model does not use it
    rotations: int
    batch_size: int
    tiles_run: int
    tiles_skipped: int
    seconds: float
    notes: tuple[str, ...] = ()
    doubt: str | None = None  # why this result is not to be trusted, if there is a reason

    def summary(self) -> str:
        """Return device, model, tiles and time in one line."""
        count = self.tiles_run + self.tiles_skipped
        share = 100 * self.tiles_skipped / count
        skipped = f", {self.tiles_skipped} empty ones skipped ({share:.0f} %)" if self.tiles_skipped else ""
        turns = f" in {self.rotations} orientations" if self.rotations > 1 else ""
        sharp = f" Sharpness set for an input of {self.resolution:.1f} Å." if self.resolution else ""
        return (f"Model {self.model} on {self.device} ({self.device_reason}): {self.tiles_run} of {count} tiles run"
                f"{turns}{skipped}, {self.seconds:.1f} s.{sharp}")


@dataclass(frozen=True)
class Enhanced:
    """A super-resolved map and the record of its prediction."""

    density: DensityMap
    report: Report
    reliability: DensityMap | None = None  # expected Q-score on the same grid, if requested


def enhance(
    density: DensityMap,
    model: Model,
    *,
    tiling: str | tiles.Tiling = "normal",
    device: str = "auto",
    batch_size: int | None = None,
    skip_empty: bool = True,
    rotations: int | None = None,
    grid: str = "1A",
    resolution: float | None = None,
    reliability: bool = False,
    progress: Progress | None = None,
) -> Enhanced:
    """Super-resolve a map.

    Parameters
    ----------
    density : DensityMap
        The map as deposited, at any voxel size.
    model : Model
        Network and card, from `nets.store.load`.
    tiling : str or Tiling
        "normal", "fast" or "paper", or a tiling of your own.
    device : str
        "auto", "cuda", "cuda:N", "mps" or "cpu".
    batch_size : int, optional
        Tiles to predict at once; halved whenever memory runs out.
    skip_empty : bool
        Skip tiles without density; their voxels get the solvent level.
    rotations : int, optional
        Number of orientations of the map, 1, 4, 8 or 24, over which predictions are averaged; the model card's by
        default.
    grid : {"1A", "input"}
        Return the map on the 1 Å grid of the prediction, or on the grid of `density`.
    resolution : float, optional
        Resolution of the map in Å, which decides how sharp the prediction may be. By default, the resolution down to
        which input and prediction agree is used.
    reliability : bool
        Also return the Q-score that a correct model is expected to have at each voxel.
    progress : callable, optional
        ``progress(done, total)`` in tiles, with fractions. It is called before every layer, after every batch and, once
        all tiles are done, before each remaining step; returning False stops the work.

    Returns
    -------
    Enhanced
        The super-resolved map, in the units of `density` and named after it; the record of the prediction; and the map
        of expected Q-scores, if requested.

    Raises
    ------
    MapError
        If the map cannot be used, the resolution is out of range, memory does not suffice, or reliability is requested
        of a model whose card has no table for it.
    ValueError
        If there is no such tiling, grid or number of orientations.
    DeviceError
        If PyTorch or the device cannot be used.
    Cancelled
        If `progress` returned False.
    """
    started = time.monotonic()
    card = model.card
    rotations = orientations(rotations, card)
    if grid not in GRIDS:
        raise ValueError(f"grid can be {' or '.join(GRIDS)}, not {grid!r}")
    if resolution is not None and not RESOLUTIONS[0] <= resolution <= RESOLUTIONS[1]:
        raise MapError(f"A resolution of {resolution:g} Å is not between {RESOLUTIONS[0]:g} and {RESOLUTIONS[1]:g} Å.")
    check(density)
    if reliability:
        require_reliability(card)
    cutting = tiles.tiling_for(tiling, card.tile, card.margin)
    chosen, reason = choose(device)
    require_memory(density, grid)
    try:
        common = common_value(density.array)
        small = resample(replace(density, array=density.array - common) if common else density)
        scale = NORMALISATIONS[card.normalisation](small.array)
        work = _Work.on(scale.apply(small.array), cutting, skip_empty, progress)
        try:
            predicted, runner = work.run(model, chosen, batch_size, rotations)
        except DeviceError as error:
            other = instead_of(chosen, device)
            if other is None:
                raise
            predicted, runner = work.run(model, other, batch_size, rotations)
            runner.notes.insert(0, f"Continued on the CPU: {error.reason}.")
            chosen, reason = other, f"in place of {chosen.label}"
        run, skipped = work.counts
        finishing = partial(_tell, progress, run, run)
        with set_workers(import_torch().get_num_threads()):  # the filters use as many threads as the network
            sharp, found, agreed = limit(work.array, predicted, card.blur, card.follow, resolution, density.finest, finishing)
            runner.notes += remarks(resolution, agreed)
            maps = {"superem": scale.restore(sharp)}
            del sharp
            finishing()
            if reliability:  # from the network's own amplitudes, not those that follow the input
                drawn = limit(work.array, predicted, card.blur, resolution=found, tell=finishing).array
                finishing()
                maps["superem expected Q"] = expected_q(drawn, card.reliability)
                del drawn
        del work, predicted
        placed = []
        for suffix, array in maps.items():
            finishing()
            placed.append(_placed(array, small, density, grid, suffix))
        result, *expected = placed
        if common:
            result.array[:] += common
    except MemoryError as error:
        raise MapError(f"{density.name} does not fit in memory; choose a part of it.") from error
    where = f"{chosen.label}, in bfloat16" if chosen.bfloat16 else chosen.label
    report = Report(
        card.name, model.sha256, where, chosen.name, reason, card.normalisation, cutting, grid, found, rotations,
        runner.batch_size, run, skipped, time.monotonic() - started, tuple(runner.notes),
        reason_to_doubt(density, found, resolution))
    return Enhanced(result, report, *expected)


def orientations(asked: int | None, card: Card) -> int:
    """Return the number of orientations over which to average predictions: `asked`, or by default the model card's.

    Raises
    ------
    ValueError
        If the number is not one of `ROTATION_COUNTS`.
    """
    count = card.rotations if asked is None else asked
    if count not in ROTATION_COUNTS:
        raise ValueError(f"rotations can be {', '.join(map(str, ROTATION_COUNTS))}, not {count}")
    return count


def _tell(progress: Progress | None, done: float, total: int) -> None:
    """Report how many tiles are done; raise Cancelled if the callback asks to stop."""
    if progress is not None and progress(done, total) is False:
        raise Cancelled("The work was cancelled.")


def _placed(array: np.ndarray, small: DensityMap, density: DensityMap, grid: str, suffix: str) -> DensityMap:
    """Return an array on the grid of `small` as a map named after `density`, resampled to its grid if `grid` is "input"."""
    result = DensityMap(array, small.origin, small.step, small.rotation)
    if grid == "input":
        result = resample_onto(result, density)
    return replace(result, name=f"{density.name} {suffix}")


def require_reliability(card: Card) -> None:
    """Raise an error for a model whose reliability has not been measured.

    Raises
    ------
    MapError
        If the model card has no table for it.
    """
    if not card.reliability:
        raise MapError(f"The model {card.name} does not tell where it is reliable: its weights file has no table for that.")


@dataclass(frozen=True)
class _Work:
    """The input of a network: an array (nz, ny, nx) in network units, its tiles, and which of them to run (bool, zyx)."""

    array: np.ndarray
    plan: tiles.Plan
    wanted: np.ndarray
    progress: Progress | None

    @classmethod
    def on(cls, array: np.ndarray, tiling: tiles.Tiling, skip_empty: bool, progress: Progress | None) -> _Work:
        """Plan the tiles of an array; run all of them or, if `skip_empty`, those that hold density."""
        nz, ny, nx = array.shape
        plan = tiles.plan((nz, ny, nx), tiling)
        wanted = tiles.occupied(array, plan)
        if not skip_empty or not wanted.any():  # nothing stands out, so the network decides
            wanted[:] = True
        return cls(array, plan, wanted, progress)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tiles run, and number skipped."""
        run = int(self.wanted.sum())
        return run, len(self.plan) - run

    def run(self, model: Model, device: Device, batch_size: int | None, rotations: int) -> tuple[np.ndarray, Runner]:
        """Return the prediction (nz, ny, nx) in network units, and the runner, whose device memory has been released."""
        runner = Runner(model.network, device, batch_size or default_batch(device, self.plan.size), rotations)
        try:
            return self._run(runner), runner
        finally:
            runner.release()

    def _run(self, runner: Runner) -> np.ndarray:
        """Return the prediction; it is zero where tiles are skipped."""
        wanted = np.argwhere(self.wanted)
        mirror = tiles.noisy(self.array)
        start, size = 0, 0

        def tick(part: float = 0) -> None:
            _tell(self.progress, start + part * size, len(wanted))

        tick()
        out = np.zeros(self.array.shape, np.float32)
        while start < len(wanted):
            batch = wanted[start : start + runner.batch_size]
            size = len(batch)
            predicted = runner(np.stack([tiles.cut(self.array, self.plan, index, mirror) for index in batch]), tick)
            if predicted is None:  # memory ran out; the batch size has been halved
                continue
            for tile, index in zip(predicted, batch, strict=True):
                tiles.blend(out, tile, self.plan, index)
            start += size
            tick()
        if not np.isfinite(out).all():
            raise MapError("The model gave values that are not numbers; its weights file may be damaged.")
        return out
