"""Two maps in one place: one or the other, both blended, side by side, and both levels moved together.

All that stays is done by ChimeraX's own commands, so that it is logged and can be scripted. While a slider is
dragged the same changes are made directly, for a command at every step would fill the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from chimerax.core.commands import run
from chimerax.geometry import translation

from ..core.density import DensityMap, crop
from ..core.levels import enclosed_volume, level_for_volume
from ..expected_q import painter_of
from ..names import FILE_SUFFIXES, file_name
from ..volumes import contoured_volume, density_of, level_enclosing

#: The level slider goes from a quarter of the volume enclosed at its middle to four times as much.
VOLUME_RANGE = 4.0
#: Of a map of more voxels than this only every second one, or third, ... is contoured for its volume, lest it take long.
CONTOURED = 30_000_000
#: Voxels that are ranked to find a level quickly.
SAMPLE = 1_000_000
#: How near the volume inside a contour comes to the one asked for, as a part of it.
NEAR = 0.005


@dataclass(frozen=True)
class Pair:
    """The map that went in (`before`) and the super-resolved one (`after`); both chimerax.map.Volume."""

    before: Any
    after: Any

    @property
    def maps(self) -> tuple[Any, Any]:
        """Both maps."""
        return self.before, self.after

    @property
    def session(self) -> Any:
        """The session that both are open in."""
        return self.before.session

    @property
    def spec(self) -> str:
        """Both maps as a model specifier."""
        return f"#{self.before.id_string},{self.after.id_string}"

    @property
    def usable(self) -> bool:
        """Whether these are two maps that are still open."""
        return self.before is not self.after and not any(m is None or m.deleted or m.id is None for m in self.maps)

    # Which of both is seen

    def flip(self) -> Any:
        """Show the one of both that is hidden, alone and opaque; return it."""
        shown = self.before if self.after.display else self.after
        self.show_only(shown)
        return shown

    def show_only(self, shown: Any) -> None:
        """Show one of both, opaque, and hide the other."""
        hidden = self.after if shown is self.before else self.before
        with self._colours_kept(0, 0):
            self._run(f"hide #!{hidden.id_string} models; {_show(shown)}; transparency {self.spec} 0 target s")

    def put_away(self) -> None:
        """Hide `after`, another result having taken its place."""
        if self.after.display:
            self._run(f"hide #!{self.after.id_string} models")

    def blend(self, percent: float) -> None:
        """Show both laid over each other: 0 is `before` alone, 100 `after` alone."""
        before, after = self.transparencies(percent)
        with self._colours_kept(before, after):
            self._run(f"{self._show_both()}; transparency #{self.before.id_string} {before:.0f} target s; "
                      f"transparency #{self.after.id_string} {after:.0f} target s")

    def preview_blend(self, percent: float) -> None:
        """Do what `blend` does without a command."""
        transparencies = self.transparencies(percent)
        with self._colours_kept(*transparencies):
            for volume, transparency in zip(self.maps, transparencies, strict=True):
                volume.display = True
                volume.set_transparency(round(255 * (100 - transparency) / 100))

    @contextmanager
    def _colours_kept(self, *transparencies: float) -> Iterator[None]:
        """Keep surfaces that another map colours so, as `color sample` does, while transparency (%) of both maps is changed.

        ChimeraX forgets by what a surface is coloured, and at the next level paints it in one colour again.
        """
        pairs = zip(self.maps, transparencies, strict=True)
        coloured = [(surface, surface.auto_recolor_vertices, transparency) for volume, transparency in pairs
                    for surface in volume.surfaces if surface.auto_recolor_vertices is not None]
        yield
        for surface, recolour, transparency in coloured:
            surface.auto_recolor_vertices = recolour
            if hasattr(painter := painter_of(surface), "transparency"):  # it paints with one of its own
                painter.transparency = transparency or None

    @property
    def blended(self) -> int | None:
        """Place of the blending slider that the maps stand at, in per cent; None where both are shown, but not blended."""
        if self.before.display != self.after.display:
            return 100 if self.after.display else 0
        if not self.contoured:
            return None
        before, after = (round(100 * (1 - _opacity(volume))) for volume in self.maps)
        return before if abs(before + after - 100) <= 1 else None

    @staticmethod
    def transparencies(percent: float) -> tuple[float, float]:
        """Transparency in per cent of `before` and `after` at a place of the blending slider."""
        return percent, 100 - percent

    def side_by_side(self) -> Apart:
        """Move `after` beside `before` on the screen."""
        with self._colours_kept(0, 0):
            self._run(f"{self._show_both()}; transparency {self.spec} 0 target s")
        about = _center_of_rotation(self.session.main_view)
        self._run(f"tile {self.spec} columns 2 spacingFactor 1.4 independentRotation false; "  # what colours a map moves along
                  f"cofr #{self.before.id_string}")
        return Apart(self, about)

    # Levels

    @property
    def contoured(self) -> bool:
        """Whether both maps are shown as surfaces, not as images."""
        return all(any(s.display for s in volume.surfaces) for volume in self.maps)

    @property
    def levels(self) -> tuple[float, float] | None:
        """The lowest contour level of each; None where one is shown as an image."""
        return (_level(self.before), _level(self.after)) if self.contoured else None

    def enclosed_volumes(self) -> tuple[float, float] | None:
        """Volume in Å³ inside the lowest contour of each; None where `before` has no contour."""
        if (levels := self.levels) is None:
            return None
        before, after = map(contoured_volume, self._densities(), levels)
        return (before, after) if before else None

    def enclose(self, volume: float) -> None:
        """Contour both maps so that each encloses `volume` Å³.

        ChimeraX's own encloseVolume counts what is shown of a map, which may be a part of one and the whole of the other.
        """
        levels = [level_enclosing(density, volume, _level(v), NEAR)[0]
                  for v, density in zip(self.maps, self._densities(), strict=True)]
        self._run("; ".join(f"volume #{v.id_string} level {level:.6g}{' change surface' if v.image_shown else ''}"
                            for v, level in zip(self.maps, levels, strict=True)))

    def preview_enclose(self, volume: float, now: tuple[float, float]) -> None:
        """Contour both maps, which enclose `now`, so that each encloses about `volume` Å³, quickly and without a command."""
        for each, enclosed in zip(self.maps, now, strict=True):
            each.set_parameters(surface_levels=[_quick_level(each, volume, enclosed)])

    def _densities(self) -> tuple[DensityMap, DensityMap]:
        """Density of both; of `before` what lies in the box of `after`, which may be a super-resolved part of it."""
        before, after = (density_of(v, _every(v, CONTOURED)) for v in self.maps)
        ends = before.indices(after.positions(np.array([(0, 0, 0), np.subtract(after.shape[::-1], 1)])))
        overlap = np.all(ends[1] >= 1) and np.all(ends[0] <= np.subtract(before.shape[::-1], 2))
        if overlap and np.allclose(before.rotation, after.rotation):
            before = crop(before, after)
        return before, after

    def _show_both(self) -> str:
        return "; ".join(map(_show, self.maps))

    def _run(self, command: str) -> None:
        run(self.session, command)


class Apart:
    """Keeps `after` where it is on the screen, beside `before`, however the camera turns, so that both seem to turn alike.

    `tile` alone would have the mouse turn each model in its own place: all that is open would come out of register, and
    the key to the colours with it. Here nothing is moved but `after`.

    Parameters
    ----------
    pair : Pair
        Two maps that are side by side.
    about : str
        What the view is to turn about afterwards, as `cofr` has it.
    """

    def __init__(self, pair: Pair, about: str = "frontCenter") -> None:
        self.pair, self._about, self._session = pair, about, pair.session  # a map that is closed has no session
        self._offset: Any = None  # of `after` from `before` in Å, in the camera's axes
        self._place: Any = None  # of `after`, as it was left here
        self._home: Any = None  # of `before`, while it is open
        self._handler = self._session.triggers.add_handler("new frame", self._follow)

    def end(self) -> None:
        """Lay both together again, as far as they are open."""
        self._handler.remove()
        off = f"tile off {self.pair.spec}; " if self.pair.usable else ""
        after = self.pair.after
        if not off and self._home is not None and not after.deleted:  # else it stays away from models that were in `before`
            after.scene_position = self._home
        run(self._session, f"{off}cofr {self._about}")

    def _follow(self, *_: Any) -> None:
        if not self.pair.usable:
            return
        before, after = self.pair.maps
        camera = self._session.main_view.camera.position
        if self._place is None or not after.scene_position.same(self._place, 0.01, 0.01):  # at first, or moved by the user
            between = after.scene_position * before.scene_position.inverse()
            self._offset = camera.inverse().transform_vector(between.translation())
        self._home = before.scene_position
        self._place = translation(camera.transform_vector(self._offset)) * self._home
        if not after.scene_position.same(self._place, 0.001, 0.001):
            after.scene_position = self._place


def _center_of_rotation(view: Any) -> str:
    """Return what a view turns about, as `cofr` has it."""
    methods = {"front center": "frontCenter", "center of view": "centerOfView"}
    return methods.get(view.center_of_rotation_method) or ",".join(f"{x:.6g}" for x in view.center_of_rotation)


def _show(volume: Any) -> str:
    """Return the command that shows a map as it was last shown.

    Without the "!" its surface and its image would both be shown, where it has had both; what is hidden with both, by a
    command of the user, needs that.
    """
    hidden = not any(m.display for m in volume.child_models())
    return f"show #{'' if hidden else '!'}{volume.id_string} models"


def volume_at(place: float, middle: float) -> float:
    """Volume in Å³ for a place from 0 to 1 of the level slider whose middle is `middle` Å³; to the right is less."""
    return middle * VOLUME_RANGE ** (1 - 2 * place)


def _opacity(volume: Any) -> float:
    """Opacity of a map's first surface, from 0 to 1; one that is coloured by vertices has it in their colours alone."""
    surface = volume.surfaces[0]
    colors = surface.vertex_colors
    return float(surface.rgba[3] if colors is None or not len(colors) else colors[0, 3] / 255)


def _level(volume: Any) -> float:
    return min(s.level for s in volume.surfaces)


def _every(volume: Any, most: int) -> int:
    """Return the step at which no more than about `most` voxels of a map are left."""
    return math.ceil((math.prod(volume.data.size) / most) ** (1 / 3))


def _quick_level(volume: Any, wanted: float, now: float) -> float:
    """Level at which a map encloses about `wanted` Å³, where it encloses `now`, by counting an even sample of its voxels."""
    every = _every(volume, SAMPLE)
    sample = volume.full_matrix()[::every, ::every, ::every]
    step = np.multiply(volume.data.step, every)
    counted = enclosed_volume(sample, _level(volume), step)
    return level_for_volume(sample, wanted * counted / now if now else wanted, step)


def save_name(volume: Any) -> str:
    """Return a name for the file of a map."""
    return file_name(volume.name) + ".mrc"


def save_command(volume: Any, path: str) -> str:
    """Return the command that writes a map to an MRC file; ".mrc" is added where the path has no known suffix."""
    from chimerax.core.commands import FileNameArg

    if not path.lower().endswith(FILE_SUFFIXES):
        path += ".mrc"
    return f"save {FileNameArg.unparse(path)} models #{volume.id_string}"
