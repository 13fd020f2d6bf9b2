"""Write a run's averaged weights and its model card as a weights file that `superem` loads.

    python -m training.export --run runs/unet --name unet --out src/weights/unet.safetensors \
        --summary "..." --validation build/validation.json

`--validation` is the JSON that `python -m training.evaluate --json` writes: the card then holds the means that it
printed. `--blur` says how a prediction is blurred by the resolution found or given (`core.sharpness`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from superem.nets.store import Card, save

from superem import nets

from .metrics.tables import SUMMARY, mean, number


def export(run: Path, out: Path, **card: object) -> Card:
    """Rebuild the averaged network of `run`/state.pt, and save it with a card made of the run's own settings."""
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
        "data": "docs/training.md",
    }
    written = Card(
        architecture=config["architecture"],
        options=config["options"],
        training=training,
        normalisation="robust",
        **card,
    )
    save(out, network, written)
    return written


def figures(outcome: dict, label: str) -> dict[str, str]:
    """Means over the maps of an evaluation, input -> super-resolved, as `superem models` shows them."""
    maps = outcome["maps"]

    def change(key: str, decimals: int) -> str:
        before, after = (number(mean(maps, method, key), decimals) for method in ("input", label))
        return after if key == "improved" else f"{before} -> {after}"

    return {"maps": str(len(maps))} | {head: change(key, decimals) for key, head, decimals in SUMMARY}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--summary", default="")
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--tile", type=int, default=80, help="preferred tile edge, voxels")
    parser.add_argument("--margin", type=int, default=8, help="dead margin, voxels")
    parser.add_argument("--version", default="1")
    parser.add_argument("--blur", type=json.loads, default=[], help="JSON: [[resolution, sigma], ...], Å")
    o = parser.parse_args()
    validation = figures(json.loads(o.validation.read_text()), o.name) if o.validation else {}
    card = export(
        o.run, o.out, name=o.name, summary=o.summary, validation=validation, tile=o.tile, margin=o.margin,
        version=o.version, blur=o.blur,
    )  # fmt: skip
    print(f"{o.out}: {o.out.stat().st_size / 1e6:.1f} MB, {card.training['steps']} steps")


if __name__ == "__main__":
    main()
