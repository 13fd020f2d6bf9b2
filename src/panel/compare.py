"""Two maps in one place: one or the other, both blended, side by side, and both levels moved together.

All that stays is done by ChimeraX's own commands, so that it is logged and can be scripted. While a slider is
dragged the same changes are made directly, for a command at every step would fill the log.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from chimerax.core.commands import run

from ..core.levels import level_for_volume
from ..volumes import contoured_volume, density_of, stem

#: The level slider goes from a quarter of the volume enclosed at its middle to four times as much.
VOLUME_RANGE = 4.0
#: ChimeraX's encloseVolume contours a map some twenty times, which takes seconds for one of more voxels than this.
BISECTED = 4_000_000
#: Voxels that are ranked to find a level quickly.
SAMPLE = 1_000_000


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
        self._run(f"hide #{hidden.id_string} models; show #{shown.id_string} models; "
                  f"transparency {self.spec} 0 target s")

    def put_away(self) -> None:
        """Hide `after`, another result having taken its place."""
        if self.after.display:
            self._run(f"hide #{self.after.id_string} models")

    def blend(self, percent: float) -> None:
        """Show both laid over each other: 0 is `before` alone, 100 `after` alone."""
        before, after = self.transparencies(percent)
        self._run(f"show {self.spec} models; transparency #{self.before.id_string} {before:.0f} target s; "
                  f"transparency #{self.after.id_string} {after:.0f} target s")

    def preview_blend(self, percent: float) -> None:
        """Do what `blend` does without a command."""
        for volume, transparency in zip(self.maps, self.transparencies(percent), strict=True):
            volume.display = True
            volume.set_transparency(round(255 * (100 - transparency) / 100))

    @property
    def blended(self) -> int | None:
        """Place of the blending slider that the maps stand at, in per cent; None where they are not blended."""
        if not self.contoured:
            return None
        before, after = (round(100 * (1 - volume.surfaces[0].rgba[3])) for volume in self.maps)
        return before if abs(before + after - 100) <= 1 else None

    @staticmethod
    def transparencies(percent: float) -> tuple[float, float]:
        """Transparency in per cent of `before` and `after` at a place of the blending slider."""
        return percent, 100 - percent

    def side_by_side(self) -> None:
        """Move both apart on the screen; dragging the mouse turns each about its own centre."""
        self._run(f"show {self.spec} models; transparency {self.spec} 0 target s; "
                  f"tile {self.spec} columns 2 spacingFactor 1.2")

    def turn_alike(self) -> None:
        """Let dragging turn each about its own centre, as `tile` does; a session file does not keep it."""
        self._run('mouse left "rotate independent"')

    def together(self) -> None:
        """Lay `after` on `before` again."""
        self._run(f"tile off {self.spec}")

    # Levels

    @property
    def contoured(self) -> bool:
        """Whether both maps are shown as surfaces, not as images."""
        return all(any(s.display for s in volume.surfaces) for volume in (self.before, self.after))

    def enclosed_volume(self) -> float | None:
        """Volume in Å³ inside the lowest contour of `before`; None where there is no contour."""
        if not self.contoured:
            return None
        return contoured_volume(density_of(self.before), min(s.level for s in self.before.surfaces)) or None

    def enclose(self, volume: float) -> None:
        """Contour both maps so that each encloses `volume` Å³."""
        if max(math.prod(v.data.size) for v in self.maps) <= BISECTED:
            self._run(f"volume {self.spec} encloseVolume {volume:.6g}")
        else:
            self._run("; ".join(f"volume #{v.id_string} level {_quick_level(v, volume):.6g}" for v in self.maps))

    def preview_enclose(self, volume: float) -> None:
        """Do nearly what `enclose` does, quickly and without a command."""
        for each in self.maps:
            each.set_parameters(surface_levels=[_quick_level(each, volume)])

    def _run(self, command: str) -> None:
        run(self.session, command)


def volume_at(place: float, middle: float) -> float:
    """Volume in Å³ for a place from 0 to 1 of the level slider whose middle is `middle` Å³; to the right is less."""
    return middle * VOLUME_RANGE ** (1 - 2 * place)


def _quick_level(volume: Any, enclosed: float) -> float:
    """Level above which `enclosed` Å³ of a map lie, by counting the voxels of an even sample of it."""
    matrix = volume.full_matrix()
    every = max(1, math.ceil((matrix.size / SAMPLE) ** (1 / 3)))
    return level_for_volume(matrix[::every, ::every, ::every], enclosed, [s * every for s in volume.data.step])


def save_name(volume: Any) -> str:
    """Return a name for the file of a map, without spaces and signs that some systems do not take."""
    return re.sub(r"[^\w.+-]+", "_", stem(volume)) + ".mrc"


def save_command(volume: Any, path: str) -> str:
    """Return the command that writes a map to an MRC file; ".mrc" is added where the path has no known suffix."""
    from chimerax.core.commands import FileNameArg

    if not path.lower().endswith((".mrc", ".map", ".ccp4")):
        path += ".mrc"
    return f"save {FileNameArg.unparse(path)} models #{volume.id_string}"
