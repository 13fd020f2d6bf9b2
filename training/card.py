"""Write the model card beside the weights, and the README's table, from an evaluation.

    python -m training.card --evaluation build/evaluation.json --weights src/weights/unet.safetensors --out src/weights/unet.md \
        --failures build/failures.md --picture docs/images/failures.png --reliability build/reliability.md --readme README.md

The text comes from `training/templates`; the figures come from the evaluation, the card inside the weights file and the lists in
`training/ids`. Nothing is written by hand. The evaluation must be of these weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import textwrap
from collections import Counter
from pathlib import Path

from superem.nets.store import Model, load

from .command import CACHE, EVALUATION, IDS, as_command
from .export import SHIPPED_DATA
from .metrics.cache import Cache
from .metrics.tables import (
    BASELINES,
    INPUT,
    bars,
    control_table,
    gain_table,
    group_tables,
    reach_table,
    summary_table,
    values,
)
from .predictions import Predictor, label_of
from .templates import fill

BEGIN, END = "<!-- validation table: begin -->", "<!-- validation table: end -->"
#: The paper's training: epochs, cubes, voxels per cube.
PAPER = (100, 201_552, 25**3)
#: Figures in which a result can be worse than its input: key, name, decimals, sign of an improvement.
FIGURES = (("q", "Q-score", 3, 1), ("cc_mask", "CC_mask", 3, 1), ("cc_box", "CC_box", 3, 1),
           ("cube_mean", "cubes about the mean", 3, 1), ("d_fsc05", "FSC = 0.5, Å", 2, -1),
           ("fsc05", "FSC = 0.5 (one mask), Å", 2, -1), ("d_model", "d_model, Å", 1, -1))
#: Two validation maps that are most likely of one reconstruction.
SAME_RECONSTRUCTION = ("EMD-1461", "Gorgon_vp6")
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def count(number: int) -> str:
    """Return a count as text: small numbers as words."""
    return COUNTS[number] if number < len(COUNTS) else f"{number:,}"


def compute(training: dict) -> str:
    """Describe the amount of training, compared with the paper's."""
    epochs, cubes, voxels = PAPER
    paper = f"the paper's {epochs} epochs over {cubes:,} cubes of 25³ ({epochs * cubes * voxels / 1e9:.3g} billion voxels)"
    if "voxels" in training:
        seen, what = training["voxels"], f"{training['steps']:,} steps on"
    elif all(key in training for key in ("steps", "batch", "tile_edge")):  # as if all steps had the settings of the last session
        seen = training["steps"] * training["batch"] * training["tile_edge"] ** 3
        what = f"{training['steps']:,} steps of {training['batch']} tiles of {training['tile_edge']}³ are"
    else:
        return f"the weights file does not record how many voxels were seen; {paper} are the measure."
    return f"{what} {seen / 1e9:.3g} billion voxels, {100 * seen / (epochs * cubes * voxels):.2g} % of {paper}."


def trained(training: dict) -> str:
    """Describe the training that the weights file records; missing entries are left out."""
    device = training.get("device")
    parts = [
        f"{training['steps']:,} steps" if "steps" in training else "",
        f"{training['hours']:g} hours" + (f" on {device}" if device else "") if "hours" in training else "",
        f"started from {training['start_from']}" if training.get("start_from") else "",
        f"objective `{training['objective']}`" if "objective" in training else "",
        f"{100 * training['share_of_real_tiles']:.0f} % of tiles of deposited maps" if "share_of_real_tiles" in training else "",
    ]
    return ", ".join(part for part in parts if part) or "the weights file does not say how"


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file."""
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


def repeated(groups: list[str], names: list[str]) -> str:
    """Return sentences that name proteins, and a reconstruction, with several maps."""
    said = []
    for group, n in Counter(groups).items():
        if n > 1:
            said.append(f"{count(n).capitalize()} of the {count(len(names))} maps are of one protein, {group}.")
        if set(SAME_RECONSTRUCTION) <= {name for name, of in zip(names, groups, strict=True) if of == group}:
            said.append(f"Two of these, {' and '.join(SAME_RECONSTRUCTION)}, are most likely of one reconstruction.")
    return " ".join(said)


def verdict(outcome: dict, label: str) -> dict[str, str]:
    """Return the number of bars, how many are reached and which are missed, over maps and over proteins."""
    found: dict[str, str] = {}
    for name, by_protein in (("", False), ("_by_protein", True)):
        judged = bars(outcome, label, by_protein)
        missed = [text.strip() for text, _, met in judged if not met]
        found |= {f"reached{name}": str(len(judged) - len(missed)), f"missed{name}": "; ".join(missed) or "none"}
    return found | {"bar_count": str(len(judged))}


def worse_maps(outcome: dict, label: str) -> list[str]:
    """Return a line for every map on which the model is worse than its input in any figure."""
    maps, lines = outcome["maps"], []
    for n, name in enumerate(maps):
        worse = []
        for key, head, decimals, sign in FIGURES:
            before, after = values(maps, INPUT, key)[n], values(maps, label, key)[n]
            if sign * (after - before) < 0:
                worse.append(f"{head} {before:.{decimals}f} → {after:.{decimals}f}")
        if worse:
            lines.append(f"- **Worse than its input: {name}**: {', '.join(worse)}.")
    return lines


def only(outcome: dict, label: str, name: str) -> dict:
    """Reduce an evaluation of several models to the baselines and one model, labelled with the `name` of its card."""
    def pick(labels: dict) -> dict:
        return {(name if key == label else key): value for key, value in labels.items() if key in (*BASELINES, label)}

    return {**outcome, "maps": {key: pick(methods) for key, methods in outcome["maps"].items()},
            "controls": {key: pick(methods) for key, methods in outcome["controls"].items()}}


def facts(outcome: dict, model: Model) -> dict[str, str]:
    """Return the values that the templates use, except for failures and figures."""
    card, names = model.card, list(outcome["maps"])
    groups = list(outcome["groups"].values())
    used = [row for row in rows(IDS / "maps.csv") if row["split"] == "train" and row["used"] == "yes"]
    table = ", ".join(f"{sigma:g} Å at {resolution:g} Å" for resolution, sigma in card.blur)
    controls = control_table(outcome)
    data = card.training.get("data", SHIPPED_DATA)
    lists = {"structures": f"{len(rows(IDS / 'structures.csv')):,}", "train_maps": count(len(used)),
             "train_proteins": count(len({row["group"] for row in used}))}
    measured = {part: fill("shipped.md", {}, part).strip() if data == SHIPPED_DATA else "" for part in ("others", "ligands")}
    return {
        "name": card.name, "summary": card.summary, "network": fill("network.md", {}, card.architecture).strip(),
        "parameters": f"{sum(p.numel() for p in model.network.parameters()) / 1e6:.1f} million",
        "turns": fill("network.md", {"count": count(card.rotations)}, "turned").strip() if card.rotations > 1 else "",
        "blur": fill("network.md", {"table": table}, "blurred" if card.blur else "unblurred").strip(),
        "follow": fill("network.md", {"share": f"{100 * card.follow:.0f} %"}, "followed").strip() if card.follow else "",
        "trained": trained(card.training), "compute": compute(card.training),
        "data": fill("network.md", lists, "lists").strip() if data == SHIPPED_DATA else data, "maps": count(len(names)),
        "proteins": count(len(set(groups))) + (" proteins" if len(set(groups)) > 1 else " protein"),
        "repeated": repeated(groups, names), "command": outcome["command"],
        "means": summary_table(outcome), "gains": gain_table(outcome), "bars": reach_table(outcome),
        "groups": "\n\n".join(group_tables(outcome)), "controls": "\n\n".join(controls) or "The controls were not run.",
    } | measured | verdict(outcome, card.name)


def tidy(text: str) -> str:
    """Collapse repeated empty lines and wrap prose at 120 characters; tables, commands, headings and images are unchanged."""
    blocks = [block.strip("\n") for block in re.split(r"\n{2,}", text)]
    return "\n\n".join(block if block.startswith(("|", "    ", "#", "!")) else flow(block) for block in blocks if block) + "\n"


def flow(block: str) -> str:
    """Wrap a paragraph, or each item of a list."""
    items = re.split(r"\n(?=- )", block)
    return "\n".join(textwrap.fill(" ".join(item.split()), 120, subsequent_indent="  " * item.startswith("- "),
                                   break_long_words=False, break_on_hyphens=False) for item in items)


def replace_block(text: str, block: str) -> str:
    """Return the README with its table replaced.

    Raises
    ------
    SystemExit
        If the README has no markers for the table.
    """
    if BEGIN not in text or END not in text:
        raise SystemExit(f"The README has no lines {BEGIN} and {END}.")
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{block}{END}{rest.split(END, 1)[1]}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.splitlines()[0])
    parser.add_argument("--evaluation", type=Path, default=EVALUATION)
    parser.add_argument("--weights", type=Path, default=Path("src/weights/unet.safetensors"))
    parser.add_argument("--out", type=Path, help="the card (beside the weights)")
    parser.add_argument("--failures", type=Path, help="captions that training.failures wrote")
    parser.add_argument("--picture", type=Path, help="the picture that goes with them")
    parser.add_argument("--reliability", type=Path, help="the table that training.reliability wrote")
    parser.add_argument("--readme", type=Path, help="put the table into this file too")
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args(arguments)
    out = options.out or options.weights.with_suffix(".md")
    outcome = json.loads(options.evaluation.read_text())
    if "groups" not in outcome:
        raise SystemExit(f"{options.evaluation} does not say which protein each map is of: run training.evaluate anew.")
    model = load(str(options.weights))
    predictor = Predictor(model, Cache(options.cache), outcome["tiling"], outcome["rotations"])
    outcome = only(outcome, label_of(predictor, outcome), model.card.name)
    known = facts(outcome, model)
    lines = worse_maps(outcome, model.card.name)
    if options.failures:
        lines.append(options.failures.read_text().strip())
    place = os.path.relpath(options.picture, out.parent) if options.picture else ""
    picture = f"![Failures, a row each: input, result, and HR or what it should be]({place})" if place else ""
    words = [f"--{key} {value}" for key in ("evaluation", "weights", "out", "failures", "picture", "reliability", "readme")
             if (value := vars(options)[key])]
    reliability = fill("reliability.md", {"table": options.reliability.read_text()}) if options.reliability else ""
    known |= {"reliability": reliability, "failures": "\n".join(lines) or "None is known.", "picture": picture,
              "card_command": " ".join(["python -m training.card", *words])}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(tidy(fill("card.md", known)))
    if options.readme:
        block = tidy(fill("readme.md", known))
        options.readme.write_text(replace_block(options.readme.read_text(), block))


if __name__ == "__main__":
    as_command(main)
