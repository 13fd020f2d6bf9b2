"""The commands `superem`, `superem models` and `superem cancel`."""

from __future__ import annotations

import html
from typing import Any

from chimerax.core.commands import (
    AnnotationError,
    BoolArg,
    Bounded,
    CmdDesc,
    EnumOf,
    FileNameArg,
    FloatArg,
    IntArg,
    ModelIdArg,
    ModelsArg,
    StringArg,
    commas,
)
from chimerax.core.commands import register as register_command
from chimerax.core.errors import UserError
from chimerax.map.mapargs import MapRegionArg, MapsArg, MapStepArg

from .core.density import MapError
from .core.devices import REQUEST, REQUESTS
from .core.predict import GRIDS, RESOLUTIONS, ROTATION_COUNTS, require_reliability
from .core.tiles import PRESETS
from .job import jobs
from .names import is_expected_q, is_result, label
from .nets.store import DEFAULT, FOLDER, WeightsError, bundled, find, read_card
from .prediction import LARGEST_BATCH, Request, Settings, model_id_problem, words_of
from .provenance import version
from .volumes import check_kind


def superem(
    session: Any,
    volumes: list[Any],
    device: str = "auto",
    model: str = DEFAULT,
    tiling: str = "normal",
    rotations: str | None = None,
    batch_size: int | None = None,
    grid: str = "1A",
    resolution: float | None = None,
    reliability: bool = False,
    subregion: Any = "all",
    step: Any = (1, 1, 1),
    model_id: tuple[int, ...] | None = None,
    hide_maps: bool | None = None,
    block: bool | None = None,
) -> Any:
    """Open a super-resolved map for each map, at a contour level that encloses the same volume.

    Returns
    -------
    Volume, or a list of them for several maps; None if the jobs run in the background.

    Raises
    ------
    UserError
        For bad input; if one of several maps fails, after the others have been made.
    """
    if not volumes:
        raise UserError("superem needs a map: open one, and specify it by number, as in 'superem #1'.")
    volumes = _densities(session, volumes)
    if model_id is not None:
        if len(volumes) > 1:
            raise UserError("modelId specifies one model, but several maps were given.")
        if problem := model_id_problem(volumes[0], model_id):
            raise UserError(problem)
    try:  # check now, not when the job starts
        weights = find(model)
        card = read_card(weights)
        if reliability:
            require_reliability(card)
        for volume in volumes:
            check_kind(volume)
    except (MapError, WeightsError) as error:
        raise UserError(str(error)) from error
    given = int(rotations) if rotations and int(rotations) != card.rotations else None  # None for the model's own number
    if weights.parent != FOLDER:  # when a job starts, a relative path may lead elsewhere
        model = str(weights.absolute())
    settings = Settings(device, model, tiling, given, batch_size, grid, resolution, reliability)
    for volume in filter(is_result, volumes):
        session.logger.warning(f"{label(volume)} is itself a super-resolved map, and so an estimate; "
                               "run superem on the original.")
    requests = [Request(v, settings, step, _part(v, subregion), model_id, hide_maps) for v in volumes]
    if block is None:
        block = session.in_script or not session.ui.is_gui
    if block:
        return jobs(session).run_now(requests[0]) if len(requests) == 1 else _run_all(session, requests)
    for request in requests:
        jobs(session).submit(request)
    return None


def _densities(session: Any, volumes: list[Any]) -> list[Any]:
    """Return the density maps; leave out expected-Q maps, which a range of model numbers can include."""
    others = [volume for volume in volumes if is_expected_q(volume)]
    if not others:
        return volumes
    left_out = f"{', '.join(map(label, others))}: the Q-score to expect, not density"
    if len(others) == len(volumes):
        raise UserError(f"{left_out}; specify the map that superem should work on.")
    session.logger.info(f"{left_out}; left out.")
    return [volume for volume in volumes if volume not in others]


def _run_all(session: Any, requests: list[Request]) -> list[Any]:
    """Make one map after the other and return them; one that fails does not keep the others from being made.

    Raises
    ------
    UserError
        In the end, if any failed; unexpected errors are reported in the log, too.
    """
    results, failed, reasons = [], [], []
    for request in requests:
        try:
            results.append(jobs(session).run_now(request))
        except Exception as error:
            failed.append(label(request.volume))
            reasons.append(words_of(error))
            if not isinstance(error, UserError):
                session.logger.report_exception(f"superem of {failed[-1]} failed: {reasons[-1]}")
    if failed:
        raise UserError(f"No map could be made from {commas(failed)}: {' '.join(dict.fromkeys(reasons))}")
    return results


def _part(volume: Any, subregion: Any) -> Any:
    """Return `subregion`; replace "shown" by the region shown now, which may change before the job starts.

    A first corner below zero becomes zero: ChimeraX would begin there, too, but keep the size.
    """
    if not isinstance(subregion, str):
        first, last = subregion
        return tuple(max(i, 0) if j >= 0 else i for i, j in zip(first, last, strict=True)), tuple(last)
    if subregion != "shown":
        return subregion
    shown, whole = ([tuple(int(i) for i in corner) for corner in volume.subregion(1, part)[:2]] for part in ("shown", "all"))
    return "all" if shown == whole else shown


def superem_models(session: Any) -> list[Any]:
    """Log the bundle's version and its networks; return the networks' model cards."""
    cards = bundled()
    title = f"<p>SuperEM for ChimeraX {html.escape(version())}</p>"
    session.logger.info(title + "".join(_table(card) for card in cards), is_html=True)
    return cards


def superem_cancel(session: Any) -> int:
    """Cancel the running job and all waiting ones; return how many there were."""
    count = jobs(session).cancel_all()
    session.logger.info(f"superem: {count} job{'s' if count > 1 else ''} stopped." if count
                        else "superem is not running.")
    return count


def _table(card: Any) -> str:
    """Return an HTML table for one model: its purpose, then its figures on the validation maps, one per row."""
    title = f"{card.name}, version {card.version}"
    figures = "".join(f"<tr><td>{html.escape(name)}<td align=right nowrap>{html.escape(_figure(value))}"
                      for name, value in card.validation.items())
    return ("<table border=1 cellpadding=4 cellspacing=0 style='margin-bottom: 8px'>"
            f"<tr><th colspan=2 align=left>{html.escape(title)}<tr><td colspan=2>{html.escape(card.summary)}"
            f"<tr><th align=left>on maps that it was not trained on<th>input → SR{figures}</table>")


def _figure(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("->", "→")


class DeviceArg(StringArg):
    """Device name; whether the device exists is known only once PyTorch is loaded."""

    name = f"one of {REQUESTS}"

    @staticmethod
    def parse(text: str, session: Any) -> tuple[str, str, str]:
        """Return the device, the text to log and the rest of the command."""
        device, logged, rest = StringArg.parse(text, session)
        if not REQUEST.fullmatch(device):
            raise AnnotationError(f"Should be {DeviceArg.name}")
        return device, logged, rest


class NumberedMapsArg(MapsArg):
    """Maps specified by number; for anything else, such as a file name, the error shows how to specify one."""

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[list[Any], str, str]:
        """Return the maps, the text to log and the rest of the command."""
        try:
            maps, logged, rest = super().parse(text, session)
            models, *_ = ModelsArg.parse(text, session)
        except AnnotationError as error:
            raise AnnotationError("Specify maps by number, as in 'superem #1' or 'superem #1,3'", error.offset) from error
        if models and not maps:
            raise UserError(f"{logged} is not a map; superem needs an open map, specified by number, as in 'superem #1'.")
        return maps, logged, rest


class StepArg(MapStepArg):
    """Voxel step, to use every n-th voxel only: one number for all axes, or one per axis."""

    @staticmethod
    def parse(text: str, session: Any) -> tuple[tuple[int, int, int], str, str]:
        """Return the steps, the text to log and the rest of the command."""
        steps, logged, rest = MapStepArg.parse(text, session)
        if min(steps) < 1:  # ChimeraX divides by the step
            raise AnnotationError("Must be greater than or equal to 1")
        return steps, logged, rest


class ModelArg(FileNameArg):
    """Name or path of a network; parsed like a path, with backslashes kept."""

    name = "the name of a model or of a weights file"


def _one_of(values: Any, **options: Any) -> EnumOf:
    """Return an EnumOf that lists its values in the given order, not alphabetically (1, 24, 4, 8)."""
    words = [str(value) for value in values]
    return EnumOf(words, name=f"one of {commas(words)}", **options)


superem_desc = CmdDesc(
    required=[("volumes", NumberedMapsArg)],
    keyword=[
        ("device", DeviceArg()),
        ("model", ModelArg()),
        ("tiling", _one_of(PRESETS)),
        ("rotations", _one_of(ROTATION_COUNTS, abbreviations=False)),
        ("batch_size", Bounded(IntArg, min=1, max=LARGEST_BATCH)),
        ("grid", _one_of(GRIDS)),
        ("resolution", Bounded(FloatArg, min=RESOLUTIONS[0], max=RESOLUTIONS[1])),
        ("reliability", BoolArg),
        ("subregion", MapRegionArg),
        ("step", StepArg),
        ("model_id", ModelIdArg),
        ("hide_maps", BoolArg),
        ("block", BoolArg),
    ],
    synopsis="Make a super-resolved map from a cryo-EM map",
)
superem_models_desc = CmdDesc(synopsis="List the networks that superem can use")
superem_cancel_desc = CmdDesc(synopsis="Stop superem's running and waiting jobs")

COMMANDS = {
    "superem": (superem_desc, superem),
    "superem models": (superem_models_desc, superem_models),
    "superem cancel": (superem_cancel_desc, superem_cancel),
}


def register(name: str, logger: Any) -> None:
    """Register the command `name` with ChimeraX."""
    desc, function = COMMANDS[name]
    register_command(name, desc, function, logger=logger)
