"""Comparison of two maps: one or the other, both blended or side by side, and contour levels moved together.

Lasting changes use ChimeraX's own commands, so that they are logged and can be scripted. While a slider is dragged, the
same changes are made directly, because a command at every step would fill the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from chimerax.core.commands import run

from ..core.density import DensityMap, crop
from ..core.levels import agree, enclosed_volume, level_for_surface, level_for_volume
from ..expected_q import painter_of
from ..names import FILE_SUFFIXES, file_name
from ..volumes import contoured_volume, density_of, level_enclosing
from .beside import SideBySide, center_of_rotation

#: The level slider spans this factor of enclosed volume to either side of its middle.
VOLUME_RANGE = 4.0
#: Maps of more voxels than this are contoured at every second voxel, or third, ..., to measure their volume quickly.
CONTOURED = 30_000_000
#: Number of voxels in the sample from which a level is found quickly.
SAMPLE = 1_000_000
#: Relative tolerance of the volume inside a contour.
NEAR = 0.005


@dataclass(frozen=True)
class Pair:
    """The input map (`before`) and the super-resolved map (`after`); both chimerax.map.Volume."""

    before: Any
    after: Any

    @property
    def maps(self) -> tuple[Any, Any]:
        """Both maps."""
        return self.before, self.after

    @property
    def session(self) -> Any:
        """The session in which both are open."""
        return self.before.session

    @property
    def spec(self) -> str:
        """Both maps as a model specifier."""
        return f"#{self.before.id_string}#{self.after.id_string}"  # after a comma, a number would be in the group of the first

    @property
    def usable(self) -> bool:
        """Whether these are two different maps, both still open."""
        return self.before is not self.after and not any(m is None or m.deleted or m.id is None for m in self.maps)

    # Visibility

    def flip(self) -> Any:
        """Show the map that is hidden, alone and opaque; return it."""
        shown = self.before if self.after.display else self.after
        self.show_only(shown)
        return shown

    def show_only(self, shown: Any) -> None:
        """Show one of the maps, opaque, and hide the other."""
        hidden = self.after if shown is self.before else self.before
        with self._colours_kept(0, 0):
            self._run(f"hide #!{hidden.id_string} models; {_show(shown)}; transparency {self.spec} 0 target s")

    def put_away(self) -> None:
        """Hide `after`, because another result has taken its place."""
        if self.after.display:
            self._run(f"hide #!{self.after.id_string} models")

    def blend(self, percent: float) -> None:
        """Show both maps overlaid: 0 is `before` alone, 100 `after` alone."""
        before, after = self.transparencies(percent)
        with self._colours_kept(before, after):
            self._run(f"{self._show_both()}; transparency #{self.before.id_string} {before:.0f} target s; "
                      f"transparency #{self.after.id_string} {after:.0f} target s")

    def preview_blend(self, percent: float) -> None:
        """Do the same as `blend` without a command."""
        transparencies = self.transparencies(percent)
        with self._colours_kept(*transparencies):
            for volume, transparency in zip(self.maps, transparencies, strict=True):
                volume.display = True
                volume.set_transparency(round(255 * (100 - transparency) / 100))

    @contextmanager
    def _colours_kept(self, *transparencies: float) -> Iterator[None]:
        """Keep the colours of surfaces coloured by another map, as by `color sample`, while the maps' transparencies (%) change.

        ChimeraX forgets what colours a surface when its transparency is set; at the next level, it would be of one
        colour.
        """
        pairs = zip(self.maps, transparencies, strict=True)
        coloured = [(surface, surface.auto_recolor_vertices, transparency) for volume, transparency in pairs
                    for surface in volume.surfaces if surface.auto_recolor_vertices is not None]
        yield
        for surface, recolour, transparency in coloured:
            surface.auto_recolor_vertices = recolour
            if hasattr(painter := painter_of(surface), "transparency"):  # the painter has its own transparency
                painter.transparency = transparency or None

    @property
    def blended(self) -> int | None:
        """Position of the blend slider that matches what is shown, in per cent; None if both are shown but not blended."""
        if self.before.display != self.after.display:
            return 100 if self.after.display else 0
        if not self.contoured:
            return None
        before, after = (round(100 * (1 - _opacity(volume))) for volume in self.maps)
        return before if abs(before + after - 100) <= 1 else None

    @staticmethod
    def transparencies(percent: float) -> tuple[float, float]:
        """Return the transparencies of `before` and `after`, in per cent, at a position of the blend slider."""
        return percent, 100 - percent

    def side_by_side(self) -> SideBySide:
        """Move `after` beside `before` on the screen; return the `SideBySide` that keeps it there."""
        with self._colours_kept(0, 0):
            self._run(f"{self._show_both()}; transparency {self.spec} 0 target s")
        about = center_of_rotation(self.session.main_view)
        self._run(f"tile {self.spec} columns 2 spacingFactor 1.4 independentRotation false; "  # an expected-Q map moves along
                  f"cofr #{self.before.id_string}")
        return SideBySide(self, about)

    # Levels

    @property
    def contoured(self) -> bool:
        """Whether both maps are shown as surfaces, not as images."""
        return all(any(s.display for s in volume.surfaces) for volume in self.maps)

    @property
    def levels(self) -> tuple[float, float] | None:
        """The lowest contour level of each map; None if one is shown as an image."""
        return (_level(self.before), _level(self.after)) if self.contoured else None

    def enclosed_volumes(self) -> tuple[float, float] | None:
        """Return the volumes (Å³) inside the lowest contours; None if a map is shown as an image or `before` has no contour."""
        if (levels := self.levels) is None:
            return None
        before, after = map(contoured_volume, self._densities(), levels)
        return (before, after) if before else None

    def enclose(self, volume: float) -> tuple[float, float]:
        """Contour both maps so that each encloses `volume` Å³; return the volumes that they do enclose.

        ChimeraX's own encloseVolume counts only what is shown, which may be a part of one map and the whole of the
        other.
        """
        densities = self._densities()
        levels, found = _levels_together(
            volume, lambda i, wanted: level_enclosing(densities[i], wanted, _level(self.maps[i]), NEAR))
        self._run("; ".join(f"volume #{v.id_string} level {level:.9g}{' change surface' if v.image_shown else ''}"
                            for v, level in zip(self.maps, levels, strict=True)))
        return found

    def preview_enclose(self, volume: float, now: tuple[float, float]) -> tuple[float, float]:
        """Do about the same for maps that enclose `now` Å³, quickly and without a command."""
        levels, found = _levels_together(volume, lambda i, wanted: _quick_level(self.maps[i], wanted, now[i]))
        for each, level in zip(self.maps, levels, strict=True):
            each.set_parameters(surface_levels=[level])
        return found

    def _densities(self) -> tuple[DensityMap, DensityMap]:
        """Return the density of both maps; `before` is cropped to the box of `after`, which may cover a part of it only."""
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


def _show(volume: Any) -> str:
    """Return the command that shows a map as it was last shown.

    Without "!", a map that has had both a surface and an image would show both. If both are hidden, by a command of the
    user, the form without "!" is needed.
    """
    hidden = not any(m.display for m in volume.child_models())
    return f"show #{'' if hidden else '!'}{volume.id_string} models"


def volume_at(place: float, middle: float) -> float:
    """Return the volume in Å³ for a position, 0 to 1, of the level slider with `middle` Å³ at its middle; less to the right."""
    return middle * VOLUME_RANGE ** (1 - 2 * place)


def _opacity(volume: Any) -> float:
    """Return the opacity, 0 to 1, of a map's first surface; with vertex colours, only these hold it."""
    surface = volume.surfaces[0]
    colors = surface.vertex_colors
    return float(surface.rgba[3] if colors is None or not len(colors) else colors[0, 3] / 255)


def _level(volume: Any) -> float:
    return min(s.level for s in volume.surfaces)


def _every(volume: Any, most: int) -> int:
    """Return the step that leaves at most about `most` voxels of a map."""
    return math.ceil((math.prod(volume.data.size) / most) ** (1 / 3))


def _levels_together(
    volume: float, search: Callable[[int, float], tuple[float, float]],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return a level of each map that encloses `volume` Å³, and the volumes that these do enclose.

    If no level of one map encloses `volume`, the other map follows it. `search` returns level and volume found for a map
    (0 or 1) and the volume wanted.
    """
    found = [search(i, volume) for i in (0, 1)]
    for i, other in ((0, 1), (1, 0)):
        reached = found[i][1]
        if reached and not agree(reached, volume):
            volume = reached
            found[other] = search(other, volume)
    (level, enclosed), (other_level, other_enclosed) = found
    return (level, other_level), (enclosed, other_enclosed)


def _quick_level(volume: Any, wanted: float, now: float) -> tuple[float, float]:
    """Return a level at which a map that encloses `now` Å³ would enclose about `wanted` Å³, and the volume that it would enclose.

    Both come from an even sample of voxels.
    """
    every = _every(volume, SAMPLE)
    sample = volume.full_matrix()[::every, ::every, ::every]
    step = np.multiply(volume.data.step, every)
    counted = enclosed_volume(sample, _level(volume), step)
    ratio = now / counted if now and counted else 1.0  # of the volume inside the surface to the counted one
    return level_for_surface(sample, wanted, step, lambda level: ratio * enclosed_volume(sample, level, step),
                             level_for_volume(sample, wanted / ratio, step), NEAR)


def save_name(volume: Any) -> str:
    """Return a file name for a map."""
    return file_name(volume.name) + ".mrc"


def save_command(volume: Any, path: str) -> str:
    """Return the command that saves a map as an MRC file; ".mrc" is added if the path has no map suffix."""
    from chimerax.core.commands import FileNameArg

    if not path.lower().endswith(FILE_SUFFIXES):
        path += ".mrc"
    return f"save {FileNameArg.unparse(path)} models #{volume.id_string}"
