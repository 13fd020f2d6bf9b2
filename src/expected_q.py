"""Expected-Q maps: maps of the expected Q-score that colour a result, move with it and are closed with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .core.density import DensityMap
from .names import EXPECTED_Q, is_expected_q, is_result, label
from .volumes import new_volume

#: Colours of expected Q-scores: red where density is not to be believed, blue for the quality of a 2 to 3 Å map.
COLORS = ((0.1, "#d73027"), (0.3, "#fdae61"), (0.5, "#ffffbf"), (0.7, "#4575b4"))
#: Labels of the colour key.
KEY_LABELS = tuple(f"{'' if i else 'Q='}{q}" for i, (q, _color) in enumerate(COLORS))


def open_expected_q(session: Any, density: DensityMap, result: Any) -> Any:
    """Open `density` as a hidden Volume placed on `result`, colour the surfaces of `result` by it, and return it."""
    from chimerax.core.commands import run

    # Pass a colour: where ChimeraX chooses one, it queues the map to be drawn; a hidden map stays in that queue, and
    # ChimeraX 1.7 fails on it once it is closed.
    volume = new_volume(session, _bordered(density), result, f"{result.name} {EXPECTED_Q}", (0.7, 0.7, 0.7, 1.0),
                        open_model=False, show_dialog=False)
    volume.display = False
    session.models.add([volume])
    watch(session)
    _keep_grid(volume, result)
    result.update_drawings()  # colours are set on vertices, which may otherwise not exist before the next frame
    if any(s.vertices is not None and len(s.vertices) for s in result.surfaces):
        palette = ":".join(f"{q},{color}" for q, color in COLORS)
        run(session, f"color sample #{result.id_string} map #{volume.id_string} palette {palette}")
        if session.ui.is_gui:  # not by an option of `color`, which opens a tool and takes the right mouse button
            colors = " ".join(f"{color}:{text}" for (_q, color), text in zip(COLORS, KEY_LABELS, strict=True))
            run(session, f"key {colors} fontSize 18")  # low windows cut off larger type
    return volume


def _bordered(density: DensityMap) -> DensityMap:
    """Pad `density` with copies of its outermost voxels: ChimeraX finds no value exactly on a box's faces, where cuts lie."""
    x, y, z = density.positions(np.array((-1, -1, -1)))
    return replace(density, array=np.pad(density.array, 1, mode="edge"), origin=(float(x), float(y), float(z)))


def watch(session: Any) -> None:
    """From now on, move expected-Q maps along with their results and close them with their results."""
    from chimerax.core.models import MODEL_POSITION_CHANGED, REMOVE_MODELS

    if not hasattr(session, "superem_expected_q"):
        add = session.triggers.add_handler
        session.superem_expected_q = [add(MODEL_POSITION_CHANGED, _moved), add(REMOVE_MODELS, _removed)]


def watch_if_any(session: Any) -> None:
    """Call `watch` if an expected-Q map is open, for instance one restored from a session file."""
    for expected in _expected_qs(session):
        watch(session)
        if (result := _owner(expected)) is not None:
            _keep_grid(expected, result)


def painter_of(surface: Any) -> Any:
    """Return the object that recolours a surface when its vertices change, as `color sample` sets it up; None if none does."""
    # Up to ChimeraX 1.10 this is a bound method of the object, later the object itself.
    recolor = getattr(surface, "auto_recolor_vertices", None)
    return getattr(recolor, "__self__", recolor)


def _expected_qs(session: Any) -> list[Any]:
    from chimerax.map import Volume

    return [v for v in session.models.list(type=Volume) if is_expected_q(v)]


def _keep_grid(expected: Any, result: Any) -> None:
    """From now on, when the origin, voxel size or axes of `result` are changed, change those of `expected` as well."""

    def changed(_result: Any, change: str) -> None:
        if change == "coordinates changed" and not expected.deleted:
            grid, of = expected.data, result.data
            grid.set_step(of.step)
            grid.set_cell_angles(of.cell_angles)
            grid.set_rotation(of.rotation)
            grid.set_origin(of.ijk_to_xyz((-1, -1, -1)))

    result.add_volume_change_callback(changed)


def _moved(_name: str, model: Any) -> None:
    from chimerax.map import Volume

    for result in model.all_models():  # `model` may be a group
        if isinstance(result, Volume):
            for volume in {_paints(surface) for surface in result.surfaces} - {None}:
                if not volume.deleted and is_expected_q(volume) and _owner(volume) is result:
                    volume.scene_position = result.scene_position


def _removed(_name: str, models: list[Any]) -> None:
    from chimerax.map import Volume

    results = [m for m in models if isinstance(m, Volume)]
    if not results or not (expected := _expected_qs(session := results[0].session)):
        return
    painting = {id(_paints(m)) for m in session.models.list()}
    others = [v for v in session.models.list(type=Volume) if not any(_belongs(_paints(s), v) for s in v.surfaces)]
    left = [q for q in expected if any(_belongs(q, result) for result in results)
            and not (q.display or id(q) in painting or any(_belongs(q, other) for other in others))]
    if left:
        session.logger.info(f"{', '.join(map(label, left))}: closed along with the map that it belongs to.")
        session.models.close(left)
    if left and len(left) == len(expected) and session.ui.is_gui:
        from chimerax.color_key.model import get_model

        key = get_model(session, create=False)
        if key is not None and tuple(text for _color, text in key.rgbas_and_labels) == KEY_LABELS:
            session.models.close([key])


def _paints(surface: Any) -> Any:
    """Return the map that colours a surface, or None."""
    return getattr(painter_of(surface), "volume", None)


def _owner(expected: Any) -> Any:
    """Return the result that an expected-Q map colours; None if it colours none.

    The input may be coloured by it, too, and have the same grid.
    """
    from chimerax.map import Volume

    owners = [v for v in expected.session.models.list(type=Volume)
              if _belongs(expected, v) and any(_paints(s) is expected for s in v.surfaces)]
    return next(filter(is_result, owners), owners[0] if owners else None)


def _belongs(expected: Any, result: Any) -> bool:
    """Return whether `expected` has the grid of an expected-Q map of `result`; False for None and for closed maps.

    Expected-Q maps of other runs may have the same grid.
    """
    if expected is None or expected.deleted:
        return False
    grid, of = expected.data, result.data
    return bool(np.array_equal(grid.size, np.add(of.size, 2)) and np.allclose(grid.step, of.step)
                and np.allclose(grid.origin, of.ijk_to_xyz((-1, -1, -1)), atol=1e-3))
