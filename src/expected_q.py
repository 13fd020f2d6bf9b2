"""The map of the Q-score to expect of a result: it colours the result, moves with it and is closed with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .core.density import DensityMap
from .names import EXPECTED_Q, is_expected_q, label
from .volumes import new_volume

#: Colours of expected Q-scores: nothing to be believed in red, a map of 2 to 3 Å in blue.
COLORS = ((0.1, "#d73027"), (0.3, "#fdae61"), (0.5, "#ffffbf"), (0.7, "#4575b4"))
#: What the key to them says.
KEY_LABELS = tuple(f"{'' if i else 'Q='}{q}" for i, (q, _color) in enumerate(COLORS))


def open_expected_q(session: Any, density: DensityMap, result: Any) -> Any:
    """Open a map of the Q-score to expect as a hidden Volume that lies on `result`, and colour the surfaces of that by it."""
    from chimerax.core.commands import run

    # With a colour of its own: a map that ChimeraX gives one to waits to be drawn from then on, where it is hidden for ever,
    # and ChimeraX 1.7 stumbles over it once it is closed.
    volume = new_volume(session, _bordered(density), result, f"{result.name} {EXPECTED_Q}", (0.7, 0.7, 0.7, 1.0),
                        open_model=False, show_dialog=False)
    volume.display = False
    session.models.add([volume])
    watch(session)
    result.update_drawings()  # colours are the vertices', which are made at the next frame at the latest
    if any(s.vertices is not None and len(s.vertices) for s in result.surfaces):
        palette = ":".join(f"{q},{color}" for q, color in COLORS)
        run(session, f"color sample #{result.id_string} map #{volume.id_string} palette {palette}")
        if session.ui.is_gui:  # not color's own option, which opens a tool and takes the right mouse button
            colors = " ".join(f"{color}:{text}" for (_q, color), text in zip(COLORS, KEY_LABELS, strict=True))
            run(session, f"key {colors} fontSize 18")  # in larger type low windows cut it off
    return volume


def _bordered(density: DensityMap) -> DensityMap:
    """Repeat the outermost voxels around `density`: exactly at the faces of a box, where cuts lie, ChimeraX finds no value."""
    x, y, z = density.positions(np.array((-1, -1, -1)))
    return replace(density, array=np.pad(density.array, 1, mode="edge"), origin=(float(x), float(y), float(z)))


def watch(session: Any) -> None:
    """From now on move maps of the Q-score to expect along with the results that they belong to, and close them with those."""
    from chimerax.core.models import MODEL_POSITION_CHANGED, REMOVE_MODELS

    if not hasattr(session, "superem_expected_q"):
        add = session.triggers.add_handler
        session.superem_expected_q = [add(MODEL_POSITION_CHANGED, _moved), add(REMOVE_MODELS, _removed)]


def watch_if_any(session: Any) -> None:
    """Do so where there is such a map, as one that a session file brings back."""
    if _expected_qs(session):
        watch(session)


def painter_of(surface: Any) -> Any:
    """Return what colours the vertices of a surface anew when they change, as `color sample` has it; None if nothing does."""
    recolor = getattr(surface, "auto_recolor_vertices", None)  # until ChimeraX 1.10 a method of what does, then the very object
    return getattr(recolor, "__self__", recolor)


def _expected_qs(session: Any) -> list[Any]:
    from chimerax.map import Volume

    return [v for v in session.models.list(type=Volume) if is_expected_q(v)]


def _moved(_name: str, model: Any) -> None:
    from chimerax.map import Volume

    for result in model.all_models():  # it may be a group that was moved
        if isinstance(result, Volume):
            for volume in {_paints(surface) for surface in result.surfaces} - {None}:
                if not volume.deleted and is_expected_q(volume):
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
    """Return the map that colours a surface; None if none does."""
    return getattr(painter_of(surface), "volume", None)


def _belongs(expected: Any, result: Any) -> bool:
    """Whether a map, or None, has the grid that a map of the Q-score to expect of `result` has: another run's has it, too."""
    if expected is None or expected.deleted:
        return False
    grid, of = expected.data, result.data
    return bool(np.array_equal(grid.size, np.add(of.size, 2)) and np.allclose(grid.step, of.step)
                and np.allclose(grid.origin, of.ijk_to_xyz((-1, -1, -1)), atol=1e-3))
