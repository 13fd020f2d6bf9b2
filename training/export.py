"""Write a run's averaged weights and its model card as a weights file that `superem` loads.

    python -m training.export --run runs/unet --name unet --out src/weights/unet.safetensors \
        --summary "..."
    python -m training.export --weights src/weights/unet.safetensors --validation build/evaluation.json   # a new card

The second form replaces the card of a weights file; entries that are not given stay as they are. `--validation` takes the JSON
that `python -m training.evaluate --json` writes; the card then holds the means printed there. `--blur` sets how strongly a
prediction is blurred for the resolution that is found or given (`core.sharpness`). `--reliability` maps local detail to
the expected Q-score (`core.reliability`; `python -m training.reliability` prints this table). `--follow` sets how far a
prediction's amplitudes at low frequencies follow those of its input (`core.sharpness`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from superem.nets.store import Card, load, save

from superem import nets

from .command import CACHE, as_command
from .metrics.cache import Cache
from .metrics.tables import INPUT, SUMMARY, mean, number
from .predictions import Predictor, label_of

#: Default description of the training data (the lists in training/ids), which the model card writes out in full.
SHIPPED_DATA = "docs/training.md"


def export(run: Path, out: Path, data: str = SHIPPED_DATA, **card: object) -> Card:
    """Rebuild the averaged network of `run`/state.pt, and save it with a card made from the run's settings.

    `data` describes the training data in words.
    """
    if not (run / "state.pt").exists():
        raise SystemExit(f"{run} holds no run: state.pt is missing.")
    state = torch.load(run / "state.pt", weights_only=True, map_location="cpu")
    config = state["config"]
    network = nets.build(config["architecture"], **config["options"])
    network.load_state_dict(state["average"])
    training = {
        "steps": state["step"] + state["before"]["steps"],
        "hours": round((state["seconds"] + state["before"]["seconds"]) / 3600, 2),
        "batch": config["batch"],
        "tile_edge": config["size"],
        "objective": config["objective"],
        "share_of_real_tiles": config["real"],
        "device": config["device"],
        "data": data,
    }
    if state.get("voxels") is not None:
        training["voxels"] = state["voxels"]
    if config.get("start_from"):
        training["start_from"] = config["start_from"]
    written = Card(
        architecture=config["architecture"],
        options=config["options"],
        training=training,
        normalisation="robust",
        **card,
    )
    save(out, network, written)
    return written


def export_again(weights: Path, out: Path, **card: object) -> Card:
    """Save a weights file with a new card, in which `card` replaces the entries that it names."""
    model = load(str(weights))
    written = replace(model.card, **card)
    save(out, model.network, written)
    return written


def figures(outcome: dict, label: str) -> dict[str, str]:
    """Return an evaluation's means over maps, input -> super-resolved, as `superem models` shows them."""
    maps = outcome["maps"]

    def change(key: str, decimals: int) -> str:
        before, after = (number(mean(maps, method, key), decimals) for method in (INPUT, label))
        return after if key == "improved" else f"{before} -> {after}"

    return {"maps": str(len(maps))} | {head: change(key, decimals) for key, head, decimals in SUMMARY}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder of a run; needs --name and --out")
    source.add_argument("--weights", type=Path, help="weights file that gets a new card; --out is the same file if not given")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--summary")
    parser.add_argument("--data", default=SHIPPED_DATA, help="what a run was trained on, in words, unless it is what training/ids"
                        " lists: for the model card")
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--tile", type=int, help="preferred tile edge, voxels (of a run 128)")
    parser.add_argument("--margin", type=int, help="dead margin, voxels (of a run 8)")
    parser.add_argument("--rotations", type=int, help="orientations to average over, unless the user names a number (of a run 1)")
    parser.add_argument("--version")
    parser.add_argument("--blur", type=json.loads, help="JSON: [[resolution, sigma], ...], Å")
    parser.add_argument("--follow", type=float, help="0 to 1")
    parser.add_argument("--reliability", type=json.loads, help="JSON: [[detail, Q-score], ...]")
    o = parser.parse_args(arguments)
    keys = ("name", "summary", "tile", "margin", "rotations", "version", "blur", "follow", "reliability")
    given = {k: getattr(o, k) for k in keys if getattr(o, k) is not None}
    if o.run and not (o.out and o.name):
        parser.error("--run needs --name and --out")
    if o.run and o.validation:
        parser.error("--validation goes with --weights: a run is evaluated once it is exported")
    if o.validation:
        outcome, model = json.loads(o.validation.read_text()), load(str(o.weights))
        model = replace(model, card=replace(model.card, **given))
        predictor = Predictor(model, Cache(CACHE), outcome["tiling"], outcome["rotations"])
        given["validation"] = figures(outcome, label_of(predictor, outcome))
    out = o.out or o.weights
    out.parent.mkdir(parents=True, exist_ok=True)
    card = export(o.run, out, o.data, **{"tile": 128, "margin": 8} | given) if o.run else export_again(o.weights, out, **given)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {card.training['steps']} steps")


if __name__ == "__main__":
    as_command(main)
