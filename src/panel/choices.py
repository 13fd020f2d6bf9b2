"""The user's choices in the panel, and the command that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..core import predict, tiles

#: Values that the panel offers for each choice, and their labels.
TILINGS = dict(zip(tiles.PRESETS, ("Normal", "Fast: less overlap", "Paper: 25 Å tiles, stride 4, slow"), strict=True))
REGIONS = {"all": "Whole map", "shown": "What is shown"}
GRIDS = dict(zip(predict.GRIDS, ("1 Å", "Same as input"), strict=True))
ROTATIONS = {"": "Model's default", **{str(n): str(n) for n in predict.ROTATION_COUNTS}}
ROTATIONS[str(predict.ROTATION_COUNTS[-1])] += ": all there are"


@dataclass(frozen=True)
class Choices:
    """The panel's choices; the fields are the keywords of the command."""

    device: str = "auto"
    model: str = ""  # empty: the default model
    tiling: str = "normal"
    subregion: str = "all"
    grid: str = "1A"
    rotations: str = ""  # empty: the number in the model card
    batch_size: int = 0  # 0: as the device's memory allows
    resolution: float = 0.0  # Å; 0: estimated from the map
    reliability: bool = False

    def command(self, spec: str) -> str:
        """Return the `superem` command for the map that `spec` names ("#1")."""
        from chimerax.core.commands import FileNameArg, StringArg

        words = [f"superem {spec} device {StringArg.unparse(self.device)}"]
        if self.model:
            words.append(f"model {FileNameArg.unparse(self.model)}")
        words.append(f"tiling {self.tiling}")
        for name in ("subregion", "grid", "rotations"):
            if getattr(self, name) != getattr(DEFAULT, name):
                words.append(f"{name} {getattr(self, name)}")
        if self.batch_size:
            words.append(f"batchSize {self.batch_size}")
        if self.resolution:
            words.append(f"resolution {self.resolution:g}")
        if self.reliability:
            words.append("reliability true")
        return " ".join(words)

    def state(self) -> dict[str, Any]:
        """Return the choices as plain values, for session files and settings."""
        return asdict(self)


DEFAULT = Choices()
_OFFERED = {"tiling": TILINGS, "subregion": REGIONS, "grid": GRIDS, "rotations": ROTATIONS}


def from_state(state: Mapping[str, Any]) -> Choices:
    """Return the choices that `state` saved, in this or another version of the bundle; unknown values get their defaults."""
    kept: dict[str, Any] = {}
    for field in fields(Choices):
        value = state.get(field.name)
        if type(value) is type(getattr(DEFAULT, field.name)) and value in _OFFERED.get(field.name, (value,)):
            kept[field.name] = value
    return Choices(**kept)
