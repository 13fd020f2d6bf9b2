"""One prediction from Volume to Volume: read the map, run the network, show the result; `run_now` does all three.

Reading and showing must happen on the main thread; `predict` uses numpy and torch only, so it can run on a worker
thread.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from . import volumes
from .core.density import DensityMap, MapError, check, crop
from .core.devices import DeviceError
from .core.levels import enclosing
from .expected_q import open_expected_q
from .meter import Meter, status_text
from .names import MAP_SETTINGS, label, part_words
from .nets.store import DEFAULT, SUFFIX, WeightsError
from .provenance import CAUTION

#: Errors that the user can fix; the message is one sentence.
USER_ERRORS = (MapError, DeviceError, WeightsError)
#: Largest batch size (tiles) that may be requested.
LARGEST_BATCH = 4096


@dataclass(frozen=True)
class Settings:
    """Settings of a prediction; the fields are the keywords of the command."""

    device: str = "auto"
    model: str = DEFAULT
    tiling: str = "normal"
    rotations: int | None = None  # None: the number in the model card
    batch_size: int | None = None
    grid: str = "1A"  # or "input"
    resolution: float | None = None  # resolution of the map, Å; None: estimated from the map
    reliability: bool = False  # whether to make an expected-Q map, too


@dataclass(frozen=True)
class Request:
    """A map, the part of it to work on, the settings, and how to open the result."""

    volume: Any
    settings: Settings = field(default_factory=Settings)
    step: Any = 1
    subregion: Any = "all"
    model_id: tuple[int, ...] | None = None
    hide_maps: bool | None = None  # None: hide the input only if the result is coloured, since it would cover the colours

    @property
    def words(self) -> list[str]:
        """Non-default choices that change the map, worded as in the command; a weights file is given by its name."""
        changed = {name: value for name in MAP_SETTINGS if (value := getattr(self.settings, name)) != getattr(Settings(), name)}
        if "model" in changed:
            changed["model"] = Path(self.settings.model).name.removesuffix(SUFFIX)
        if "resolution" in changed:
            changed["resolution"] = f"{self.settings.resolution:g}"
        return [*(f"{name} {value}" for name, value in changed.items()), *part_words(self.step, self.subregion)]


@dataclass(frozen=True)
class Made:
    """A super-resolved map, its input (both chimerax.map.Volume) and the lines logged about it."""

    source: Any
    result: Any
    lines: list[str]


def run_now(session: Any, request: Request) -> Made:
    """Make the super-resolved map before returning.

    Raises
    ------
    UserError
        With one sentence, for any error that the user can fix.
    """
    title = f"superem of {label(request.volume)}"
    meter = Meter(lambda *progress: session.logger.status(status_text(title, *progress)))
    try:
        part, seen = read(request)
        announce(session)
        enhanced = predict(part, seen, request.settings, meter)
        return show(session, request, part, enhanced)
    except USER_ERRORS as error:
        raise UserError(str(error)) from error
    finally:
        session.logger.status("")


def read(request: Request) -> tuple[DensityMap, DensityMap]:
    """Read the requested part of the map, and the same part with the surroundings that the network is to see.

    Raises
    ------
    MapError
        If the map cannot be used, or does not fit in memory.
    """
    volume, step = request.volume, request.step
    try:
        part = volumes.density_of(volume, step, request.subregion)
        check(part)
        if request.subregion == "all":
            return part, part
        seen = volumes.density_of(volume, step, volumes.region_with_context(volume, step, request.subregion))
        check(replace(seen, name=f"{part.name}, with the {volumes.CONTEXT:g} Å around it that the network sees,"))
    except MemoryError as error:
        raise MapError(f"{label(volume)} does not fit in memory; choose a part of it.") from error
    return part, part if seen.shape == part.shape else replace(seen, name=part.name)


def announce(session: Any) -> None:
    """Log that PyTorch is being loaded, if this is the first time in the session."""
    if "torch" not in sys.modules:
        session.logger.info("superem is loading PyTorch, which takes a moment the first time in a session.")
        session.logger.status("superem: loading PyTorch …")


def predict(part: DensityMap, seen: DensityMap, settings: Settings, progress: Meter) -> Any:
    """Run the network on what `read` returned; return a core `Enhanced` of `part`.

    Uses numpy and torch only, so it can run on any thread.
    """
    from .core.devices import import_torch
    from .core.predict import enhance
    from .nets.store import load

    import_torch()  # if PyTorch is missing, the error says how to install it
    enhanced = enhance(
        seen, load(settings.model), tiling=settings.tiling, device=settings.device,
        batch_size=settings.batch_size, rotations=settings.rotations, grid=settings.grid,
        resolution=settings.resolution, reliability=settings.reliability, progress=progress,
    )
    if seen is part:
        return enhanced
    q = enhanced.reliability and crop(enhanced.reliability, part)
    return replace(enhanced, density=crop(enhanced.density, part), reliability=q)


def show(session: Any, request: Request, density: DensityMap, enhanced: Any) -> Made:
    """Open the result at a matched contour level, and log what was done."""
    source, report, hide = request.volume, enhanced.report, request.hide_maps
    shift = volumes.shift_since(source, density, request.step, request.subregion)
    if shift is not None:
        enhanced = _shifted(enhanced, shift)
    problem = model_id_problem(source, request.model_id)  # it may have arisen since the job was queued
    result = volumes.volume_of(session, enhanced.density, source, None if problem else request.model_id, request.words)
    lines = [
        f"{label(result)} of {label(source)}. {report.summary()}",
        *([problem] if problem else []),
        *report.notes,
        *_contoured(session, result, source, density, " with the voxel size and axes before the run" if shift is None else ""),
        CAUTION,
    ]
    if enhanced.reliability:
        lines.insert(-1, _colored(session, enhanced.reliability, result))
        if hide is None and _is_colored(result):
            hide = True
            lines.insert(-1, f"{label(source)} is hidden, since it would cover these colors.")
    if hide:
        source.display = False
    session.logger.info("\n".join(lines))
    changed = None if shift is not None else (
        f"The voxel size or the axes of {label(source)} were changed while superem ran. "
        f"{label(result)} was made with the earlier ones and does not fit the map any more: run superem again.")
    for warning in filter(None, (report.doubt, changed)):
        session.logger.warning(warning)
        lines.append(warning)
    return Made(source, result, lines)


def model_id_problem(source: Any, model_id: tuple[int, ...] | None) -> str | None:
    """Return a sentence that says why the result of `source` cannot have this number; None if it can, or if none was given."""
    if model_id is None:
        return None
    session = source.session
    number, parent = (".".join(map(str, i)) for i in (model_id, model_id[:-1]))
    if session.models.have_id(model_id):
        return f"modelId {number} cannot be used: model #{number} exists already."
    if parent and not session.models.have_id(model_id[:-1]):
        return f"modelId {number} cannot be used: there is no model #{parent}."
    if model_id[:len(source.id)] == source.id:
        return f"modelId {number} cannot be used: the new map would be hidden and closed with its input, #{source.id_string}."
    return None


def _shifted(enhanced: Any, shift: Any) -> Any:
    """Return a core `Enhanced` with the origins of its maps moved by `shift` (xyz, Å)."""
    density, q = (each and replace(each, origin=tuple(shift + each.origin)) for each in (enhanced.density, enhanced.reliability))
    return replace(enhanced, density=density, reliability=q)


def _contoured(session: Any, result: Any, source: Any, density: DensityMap, condition: str) -> list[str]:
    """Match the contour levels of a result; return lines for the log. If that fails, the result keeps its initial level.

    `condition` says, after the volumes, under what condition the levels enclose them.
    """
    try:
        levels = volumes.match_levels(result, source, density)
    except Exception as error:
        sentence = f"{label(result)} is not contoured at a level to match {label(source)}: {words_of(error)}"
        session.logger.report_exception(sentence)
        return [sentence]
    return [f"Level {old:.4g} became {new:.4g}: " + (f"{enclosing(before, after)}{condition}." if before or after else
            "each lies above all density of its map; lower them to see something.") for old, new, before, after in levels]


def _colored(session: Any, reliability: DensityMap, result: Any) -> str:
    """Colour a result by the expected Q-score; return a line for the log. If that fails, the result is kept as it is."""
    try:
        expected = open_expected_q(session, reliability, result)
    except Exception as error:
        sentence = f"{label(result)} could not be colored by the Q-score to expect: {words_of(error)}"
        session.logger.report_exception(sentence)
        return sentence
    return f"{label(expected)}: the Q-score to expect of a correct model at each place" + (
        f", by which {label(result)} is colored." if _is_colored(result) else ".")


def _is_colored(volume: Any) -> bool:
    return any(s.vertex_colors is not None for s in volume.surfaces)


def words_of(error: BaseException) -> str:
    """Return the message of an error, or its type if it has none."""
    return str(error).strip() or type(error).__name__
