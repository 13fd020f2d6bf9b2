"""Running a network over a whole map: resample, normalise, tile, predict, blend, rescale."""

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
RESOLUTIONS = (1.0, 30.0)  # Å, that a map may be said to have


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
    doubt: str | None = None  # why this result is not to be trusted, if it is plain

    def summary(self) -> str:
        """Device, model, tiles and time in one line."""
        count = self.tiles_run + self.tiles_skipped
        share = 100 * self.tiles_skipped / count
        skipped = f", {self.tiles_skipped} empty ones skipped ({share:.0f} %)" if self.tiles_skipped else ""
        turns = f" in {self.rotations} orientations" if self.rotations > 1 else ""
        sharp = f" Sharpness set for an input of {self.resolution:.1f} Å." if self.resolution else ""
        return (f"Model {self.model} on {self.device} ({self.device_reason}): {self.tiles_run} of {count} tiles run"
                f"{turns}{skipped}, {self.seconds:.1f} s.{sharp}")


@dataclass(frozen=True)
class Enhanced:
    """A super-resolved map, and how it was made."""

    density: DensityMap
    report: Report
    reliability: DensityMap | None = None  # expected Q-score on the same grid, if it was asked for


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
    rotations : int, optional
        Average the predictions in 1, 4, 8 or 24 orientations of the map; without it, in as many as the model's card says.
    grid : {"1A", "input"}
        Return the map on the 1 Å grid of the prediction, or on the grid of `density`.
    resolution : float, optional
        Of the map, Å; it decides how sharp the prediction may be. Without it, the resolution down to which input
        and prediction agree is used.
    reliability : bool
        Return the Q-score that a right model is expected to have at each voxel, too.
    progress : callable, optional
        ``progress(done, total)`` in tiles, parts of them too, called before every layer and after every batch, and, all tiles
        being done, before each step that is left; returning False stops the work.

    Returns
    -------
    Enhanced
        The super-resolved map, in the units of `density` and named after it; what was done; and the map of expected Q-scores, if
        it was asked for.

    Raises
    ------
    MapError
        If the map cannot be worked on, the resolution is absurd, memory does not suffice, or the model's card knows nothing of
        reliability.
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
            runner.notes.insert(0, f"Went on with the CPU: {error.reason}.")
            chosen, reason = other, f"in place of {chosen.label}"
        run, skipped = work.counts
        finishing = partial(_tell, progress, run, run)
        with set_workers(import_torch().get_num_threads()):  # of the filters, as many threads as the network has
            sharp, found, agreed = limit(work.array, predicted, card.blur, card.follow, resolution, density.finest, finishing)
            runner.notes += remarks(resolution, agreed)
            maps = {"superem": scale.restore(sharp)}
            del sharp
            finishing()
            if reliability:  # by what the network drew, not by what it follows
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
    """How many orientations of a map predictions are averaged over: as many as are asked for, or else as the card says.

    Raises
    ------
    ValueError
        If so many are not among `ROTATION_COUNTS`.
    """
    count = card.rotations if asked is None else asked
    if count not in ROTATION_COUNTS:
        raise ValueError(f"rotations can be {', '.join(map(str, ROTATION_COUNTS))}, not {count}")
    return count


def _tell(progress: Progress | None, done: float, total: int) -> None:
    """Tell how many tiles are done; raise Cancelled if the work is not wanted any more."""
    if progress is not None and progress(done, total) is False:
        raise Cancelled("The work was cancelled.")


def _placed(array: np.ndarray, small: DensityMap, density: DensityMap, grid: str, suffix: str) -> DensityMap:
    """Array on the grid of `small` as a map named after `density`, on that grid or on that of `density`."""
    result = DensityMap(array, small.origin, small.step, small.rotation)
    if grid == "input":
        result = resample_onto(result, density)
    return replace(result, name=f"{density.name} {suffix}")


def require_reliability(card: Card) -> None:
    """Refuse a model of which nobody measured where it is reliable.

    Raises
    ------
    MapError
        If its card has no table for that.
    """
    if not card.reliability:
        raise MapError(f"The model {card.name} does not tell where it is reliable: its weights file has no table for that.")


@dataclass(frozen=True)
class _Work:
    """What a network is to be run over: an array (nz, ny, nx) in network units, its tiles, and which of them (bool, zyx)."""

    array: np.ndarray
    plan: tiles.Plan
    wanted: np.ndarray
    progress: Progress | None

    @classmethod
    def on(cls, array: np.ndarray, tiling: tiles.Tiling, skip_empty: bool, progress: Progress | None) -> _Work:
        """All tiles of an array; or, if `skip_empty`, those that hold density."""
        nz, ny, nx = array.shape
        plan = tiles.plan((nz, ny, nx), tiling)
        wanted = tiles.occupied(array, plan)
        if not skip_empty or not wanted.any():  # where nothing stands out, the network is to judge
            wanted[:] = True
        return cls(array, plan, wanted, progress)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tiles that are run, and that are skipped."""
        run = int(self.wanted.sum())
        return run, len(self.plan) - run

    def run(self, model: Model, device: Device, batch_size: int | None, rotations: int) -> tuple[np.ndarray, Runner]:
        """Prediction (nz, ny, nx) in network units, with what ran it; the device's memory is given back."""
        runner = Runner(model.network, device, batch_size or default_batch(device, self.plan.size), rotations)
        try:
            return self._run(runner), runner
        finally:
            runner.release()

    def _run(self, runner: Runner) -> np.ndarray:
        """Prediction; zero where tiles are left out."""
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
