"""Show where a model does worst: one figure with captions.

    python -m training.failures --data DIR --weights unet --evaluation build/evaluation.json --out build/failures.png

The cases are found, not chosen: the map with the least gain in Q-score; the place in all maps, far from modelled atoms, where
the result exceeds its input most; and the maps with the worst controls: noise alone, random phases, noise around the molecule.
The evaluation must be of the same weights, with `--controls`. The captions are printed, and written for the model card
(`training.card`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from superem.core.density import DensityMap
from superem.core.normalise import robust
from superem.nets.store import load

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from .command import EVALUATION, MEASURING, as_command
from .evaluate import Case, read_cases
from .metrics import Reference
from .metrics.cache import Cache
from .metrics.control_maps import INNER, ControlMaps
from .metrics.controls import matched_level
from .metrics.grid import distance_to_atoms
from .metrics.tables import INPUT, number
from .predictions import Predictor, label_of
from .templates import fill

#: Density at least this far from every modelled atom, Å, belongs to none of them.
FAR = 4.0


@dataclass(frozen=True)
class Panel:
    """A section through a map: its title, its density (rows, columns) on the row's grey scale, and the level that is drawn."""

    title: str
    section: np.ndarray
    level: float | None = None


@dataclass(frozen=True)
class Row:
    """Sections that share a grey scale, on which `top` is white; a ring is drawn around the voxel `mark` (row, column)."""

    caption: str
    panels: list[Panel]
    top: float = 1.0
    mark: tuple[int, int] | None = None


@dataclass(frozen=True)
class Result:
    """A case with its reference, the model's result, and the matched levels of result and input."""

    case: Case
    reference: Reference
    after: DensityMap
    level: float
    level_input: float

    def units(self, array: np.ndarray) -> np.ndarray:
        """Convert density to the network units of the case's own map: 0 is the solvent, 1 the molecule's 95th percentile."""
        scale = robust(self.case.density.array)
        return (np.asarray(array, np.float64) - scale.low) / (scale.high - scale.low)

    def level_units(self, level: float) -> float:
        """Convert a level to the same units."""
        return float(self.units(np.array(level)))

    def own_panel(self, title: str, array: np.ndarray, z: int, level: float | None = None) -> Panel:
        """Return a section at `z` on its map's own scale: from its median to its 95th percentile within 3 Å of the model."""
        low, high = float(np.median(array)), float(np.percentile(array[self.reference.near], 95))
        return Panel(title, (array[z] - low) / (high - low), None if level is None else (level - low) / (high - low))


def results(cases: list[Case], predictor: Predictor, cache: Cache) -> dict[str, Result]:
    """Predict every case; return the results by name."""
    found = {}
    for case in cases:
        reference = Reference.cached(case.atoms, case.density, case.resolution, cache)
        after = predictor(case.density, finest=case.finest)
        levels = matched_level(after, reference), matched_level(case.density, reference)
        found[case.name] = Result(case, reference, after, *levels)
    return found


def least_gain(outcome: dict, label: str) -> str:
    """Return the map with the least gain in Q-score."""
    return min(outcome["maps"], key=lambda name: outcome["maps"][name][label]["q"] - outcome["maps"][name][INPUT]["q"])


def most_invented(result: Result) -> tuple[tuple[int, int, int], float, float, float]:
    """Find where the result exceeds its input most, `FAR` Å or more from every modelled atom.

    Returns
    -------
    voxel (zyx), the input's and the result's density there (network units), distance to the nearest atom (Å).
    """
    distance = distance_to_atoms(result.case.density, result.reference.atoms.xyz, np.inf)
    before, after = result.units(result.case.density.array), result.units(result.after.array)
    excess = np.where(distance >= FAR, after - np.maximum(before, 0), -np.inf)
    voxel = tuple(int(n) for n in np.unravel_index(int(excess.argmax()), excess.shape))
    return voxel, float(before[voxel]), float(after[voxel]), float(distance[voxel])  # type: ignore[return-value]


def gain_row(result: Result, outcome: dict, label: str) -> Row:
    """Return the row of the map with the least gain: input, result, HR."""
    name = result.case.name
    before, after = outcome["maps"][name][INPUT], outcome["maps"][name][label]
    key = "d_fsc05" if after.get("d_fsc05") is not None else "fsc05"
    z = round(float(np.nonzero(result.reference.near)[0].mean()))
    caption = fill("failures.md", {
        "name": name, "resolution": f"{result.case.resolution:.1f}",
        "q": number(before["q"], 3), "q_after": number(after["q"], 3),
        "fsc": number(before[key], 2), "fsc_after": number(after[key], 2), "cc": number(before["cc_mask"], 3),
        "cc_after": number(after["cc_mask"], 3)}, "gain")
    return Row(caption, [
        result.own_panel(f"{name}: input", result.case.density.array, z, result.level_input),
        result.own_panel("result", result.after.array, z, result.level),
        result.own_panel("HR, from the model", result.reference.hr.array, z)])


def invented_row(found: dict[str, Result]) -> Row:
    """Return the row of the strongest density that the input lacks and no atom explains."""
    places = {name: most_invented(result) for name, result in found.items()}
    name = max(places, key=lambda name: places[name][2] - max(places[name][1], 0))
    (z, y, x), before, after, distance = places[name]
    result = found[name]
    level = result.level_units(result.level)
    caption = fill("failures.md", {
        "name": name, "distance": f"{distance:.1f}", "after": f"{after:.2f}", "before": f"{before:.2f}", "level": f"{level:.2f}",
        "far": f"{FAR:g}"}, "invented")
    return Row(caption, [
        Panel(f"{name}: input", result.units(result.case.density.array[z]), result.level_units(result.level_input)),
        Panel("result", result.units(result.after.array[z]), level),
        result.own_panel("HR, from the model", result.reference.hr.array, z)], mark=(y, x))


def worst_control(outcome: dict, label: str, key: str) -> tuple[str, float, float]:
    """Return the map whose control passes most: name, share of the result above the level, share of the control itself."""
    name = max(outcome["controls"], key=lambda name: outcome["controls"][name][label][key])
    found = outcome["controls"][name][label]
    return name, found[key], found[f"{key}_input"]


def shares(after: float, before: float) -> dict[str, str]:
    """Return two shares in per cent, by their names in the captions."""
    return {"share": f"{100 * after:.1f}", "share_input": f"{100 * before:.1f}"}


def empty_row(found: dict[str, Result], outcome: dict, label: str, predictor: Predictor, control: str, title: str) -> Row:
    """Return the row of a control without a molecule, "noise" or "phases": it, its result, and the enhanced molecule.

    All are on the same scale.
    """
    name, share, share_input = worst_control(outcome, label, control)
    result = found[name]
    before = getattr(ControlMaps.make(result.case.density, result.reference, result.case.resolution), control)
    after = predictor(before, finest=result.case.finest)
    z = before.shape[0] // 2
    level, level_input = result.level_units(result.level), result.level_units(result.level_input)
    caption = fill("failures.md", {"name": name, **shares(share, share_input)}, control)
    return Row(caption, [Panel(f"{name}: {title}", result.units(before.array[z]), level_input),
                         Panel("result", result.units(after.array[z]), level),
                         Panel("the molecule's result", result.units(result.after.array[z]), level)], top=0.6)


def solvent_row(found: dict[str, Result], outcome: dict, label: str, predictor: Predictor) -> Row:
    """Return the row of noise around the molecule: the map, the map with noise, and its result."""
    name, share, share_input = worst_control(outcome, label, "solvent")
    result = found[name]
    maps = ControlMaps.make(result.case.density, result.reference, result.case.resolution)
    after = predictor(maps.noisy_solvent, finest=result.case.finest)
    level = matched_level(after, result.reference, INNER)
    z = maps.noisy_solvent.shape[0] // 2
    clean = np.pad(result.case.density.array, (maps.noisy_solvent.shape[0] - result.case.density.shape[0]) // 2)
    caption = fill("failures.md", {"name": name, **shares(share, share_input)}, "solvent")
    return Row(caption, [
        Panel(f"{name}: input", result.units(clean[z]), result.level_units(result.level_input)),
        Panel("input and noise", result.units(maps.noisy_solvent.array[z]), result.level_units(result.level_input)),
        Panel("its result", result.units(after.array[z]), result.level_units(level))], top=0.6)


def draw(out: Path, rows: list[Row]) -> None:
    """Draw the figure, one row per case; black is the solvent, lines are matched levels."""
    figure, axes = plt.subplots(len(rows), 3, figsize=(9, 3.1 * len(rows)), layout="constrained", squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for panel, ax in zip(row.panels, line, strict=True):
            ax.imshow(panel.section, cmap="gray", vmin=0, vmax=row.top, origin="lower", interpolation="nearest")
            if panel.level is not None:
                ax.contour(panel.section, [panel.level], colors="#ff8c1a", linewidths=0.6)
            if row.mark is not None:
                ax.add_patch(plt.Circle(row.mark[::-1], 5, fill=False, color="#35b6ff", lw=1.5))
            ax.set_title(panel.title, fontsize=9)
            ax.set_axis_off()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(parents=[MEASURING], prog="python -m training.failures", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="unet", help="name of a bundled model, or a weights file (%(default)s)")
    parser.add_argument("--evaluation", type=Path, default=EVALUATION, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/failures.png"), help="picture (%(default)s)")
    parser.add_argument("--captions", type=Path, default=Path("build/failures.md"), help="(%(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    outcome = json.loads(options.evaluation.read_text())
    cache = Cache(options.cache)
    predictor = Predictor(load(options.weights), cache, outcome["tiling"], outcome["rotations"])
    label = label_of(predictor, outcome)
    if not outcome["controls"]:
        raise SystemExit(f"{options.evaluation} has no controls: run training.evaluate with --controls.")
    found = results(read_cases(options.data, ids=list(outcome["maps"])), predictor, cache)
    rows = [gain_row(found[least_gain(outcome, label)], outcome, label), invented_row(found),
            empty_row(found, outcome, label, predictor, "noise", "noise"),
            empty_row(found, outcome, label, predictor, "phases", "random phases"),
            solvent_row(found, outcome, label, predictor)]
    draw(options.out, rows)
    captions = "\n".join("- " + row.caption.strip().replace("\n", "\n  ") for row in rows)
    options.captions.parent.mkdir(parents=True, exist_ok=True)
    options.captions.write_text(captions + "\n")
    print(captions)


if __name__ == "__main__":
    as_command(main)
