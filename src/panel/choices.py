"""What a person chooses in the panel, and the command that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..core import predict, tiles

#: The values that the panel offers for each choice, with what it says of them.
TILINGS = dict(zip(tiles.PRESETS, ("Normal", "Fast: less overlap", "Paper: 25 Å tiles, stride 4, slow"), strict=True))
REGIONS = {"all": "Whole map", "shown": "What is shown"}
GRIDS = dict(zip(predict.GRIDS, ("1 Å", "Same as input"), strict=True))
ROTATIONS = {"": "Model's default", **{str(n): str(n) for n in predict.ROTATION_COUNTS}}
ROTATIONS[str(predict.ROTATION_COUNTS[-1])] += ": all there are"


@dataclass(frozen=True)
class Choices:
    """One setting of the panel; the names are those of the command's keywords."""

    device: str = "auto"
    model: str = ""  # the default model
    tiling: str = "normal"
    subregion: str = "all"
    grid: str = "1A"
    rotations: str = ""  # as many as the model's card says
    batch_size: int = 0  # as the device's memory allows
    resolution: float = 0.0  # Å; found from the map
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
        """Return plain values, for sessions and settings."""
        return asdict(self)


DEFAULT = Choices()
_OFFERED = {"tiling": TILINGS, "subregion": REGIONS, "grid": GRIDS, "rotations": ROTATIONS}


def from_state(state: Mapping[str, Any]) -> Choices:
    """Read what `state` made, by this or another version of the bundle; what is not understood is left at its default."""
    kept: dict[str, Any] = {}
    for field in fields(Choices):
        value = state.get(field.name)
        if type(value) is type(getattr(DEFAULT, field.name)) and value in _OFFERED.get(field.name, (value,)):
            kept[field.name] = value
    return Choices(**kept)
