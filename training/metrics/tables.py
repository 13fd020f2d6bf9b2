"""Tables of an evaluation, and the bars (goals) that a model should reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

Maps = dict[str, dict[str, dict]]

#: Groups of metrics: title, then (key, heading, decimals) for each metric.
GROUPS = (
    ("Resolution against the model, Å (mtriage, masked)",
     (("d_fsc05", "FSC 0.5", 2), ("d_fsc0143", "FSC 0.143", 2), ("d_model", "d_model", 1))),
    ("Resolution against the model, Å (one mask for all maps)", (("fsc05", "FSC 0.5", 2), ("fsc0143", "FSC 0.143", 2))),
    ("Q-score", (("q", "all atoms", 3), ("q_backbone", "backbone", 3))),
    ("Correlation with the model's map (CC_mask, CC_box) and with HR within 3 Å",
     (("cc_mask", "CC_mask", 3), ("cc_box", "CC_box", 3), ("rscc", "HR, 3 Å", 3))),
    ("Cubes of 25³ Å: mean correlation with HR, plain (means not subtracted) and about the mean",
     (("cube", "plain", 3), ("cube_mean", "about mean", 3))),
    ("Cubes of 25³ Å: fraction improved", (("improved", "plain", 3), ("improved_mean", "about mean", 3))),
    ("cctbx's own figures, to check ours",
     (("cctbx_cc_mask", "CC_mask", 3), ("cctbx_cc_box", "CC_box", 3), ("cctbx_q", "Q-score", 3))),
)

#: Labels of the baselines that our networks are compared with.
INPUT, SHARPENED, RELEASED = BASELINES = "input", "sharpened", "EM-GAN"

#: Figures of the summary: key, heading, decimals.
SUMMARY = (
    ("d_fsc05", "masked model–map FSC = 0.5, Å (mtriage)", 2), ("d_fsc0143", "masked model–map FSC = 0.143, Å (mtriage)", 2),
    ("d_model", "d_model, Å (mtriage)", 1), ("q", "Q-score, all atoms", 3), ("cc_mask", "CC_mask", 3), ("cc_box", "CC_box", 3),
    ("cube_mean", "correlation of 25³ Å cubes with HR, about the mean", 3), ("improved", "share of cubes improved", 3),
)

#: Our own FSC figures, used if mtriage was not run.
OWN_FSC = (("fsc05", "masked model–map FSC = 0.5, Å (one mask for all maps)", 2),
           ("fsc0143", "masked model–map FSC = 0.143, Å (one mask for all maps)", 2))

CONTROLS = (
    ("noise", "noise alone above level", 4), ("noise_input", "(input)", 4),
    ("solvent", "noisy solvent above level", 4), ("solvent_input", "(input)", 4),
    ("noise_unexplained", "strong noise above level", 4), ("noise_unexplained_input", "(input)", 4),
    ("phases", "random phases above level", 4), ("phases_input", "(input)", 4),
    ("deleted", "deleted domain returns", 3), ("weak", "height of domain weakened to 0.5", 2),
    ("faint", "height of domain weakened to 0.15", 2), ("ligand", "ligand or glycan keeps", 3),
    ("level", "level, network units", 3),
)


def table(heads: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table with aligned columns: the first to the left, the others to the right."""
    rows = [heads, *rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
    lines = ["| " + " | ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in
                               enumerate(zip(row, widths, strict=True))) + " |" for row in rows]
    rule = "|" + "|".join("-" * (w + 2) if n == 0 else "-" * (w + 1) + ":" for n, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def number(value: float | None, decimals: int) -> str:
    """Format a figure; a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def values(maps: Maps, method: str, key: str) -> np.ndarray:
    """Return one figure of one method on all maps; NaN where it was not measured."""
    found = [maps[name][method].get(key) for name in maps]
    return np.array([np.nan if value is None else value for value in found], float)


def mean(maps: Maps, method: str, key: str) -> float:
    """Return the mean over the maps that have the figure; NaN if none has it."""
    all_values = values(maps, method, key)
    return float(np.nanmean(all_values)) if np.isfinite(all_values).any() else float("nan")


def group_tables(outcome: dict) -> list[str]:
    """Return one table per group of metrics: a row for each map and their mean, a column for each figure and method."""
    maps: Maps = outcome["maps"]
    methods = list(next(iter(maps.values())))
    parts = []
    for title, figures in GROUPS:
        columns = [(method, key, head, decimals) for key, head, decimals in figures for method in methods
                   if np.isfinite(mean(maps, method, key)) and not (method == INPUT and key.startswith("improved"))]
        if not columns:
            continue
        heads = ["map", "reported Å", *(f"{head}: {method}" for method, _, head, _ in columns)]
        rows = [[name, number(outcome["resolution"][name], 2), *(number(maps[name][method].get(key), decimals)
                 for method, key, _, decimals in columns)] for name in maps]
        rows.append(["**mean**", "", *(number(mean(maps, method, key), decimals) for method, key, _, decimals in columns)])
        parts.append(f"### {title}\n\n{table(heads, rows)}")
    return parts


def summary(outcome: dict) -> tuple[tuple[str, str, int], ...]:
    """Return the figures of the summary that were measured, with our own FSC figures if mtriage was not run."""
    figures = SUMMARY if mtriage_ran(outcome) else (*OWN_FSC, *SUMMARY)
    return tuple(figure for figure in figures if np.isfinite(mean(outcome["maps"], INPUT, figure[0])))


def mtriage_ran(outcome: dict) -> bool:
    """Return whether the evaluation has mtriage's figures."""
    return bool(np.isfinite(mean(outcome["maps"], INPUT, "d_fsc05")))


def summary_table(outcome: dict) -> str:
    """Return the means over the maps: a row for each figure, a column for each method."""
    maps: Maps = outcome["maps"]
    methods = list(next(iter(maps.values())))
    rows = [[head, *(number(mean(maps, method, key), decimals) for method in methods)]
            for key, head, decimals in summary(outcome)]
    return table([f"means over {len(maps)} map{'s' * (len(maps) > 1)}", *methods], rows)


def with_error(differences: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error, from the spread of independent values (n,); NaN where there are too few."""
    known = differences[np.isfinite(differences)]
    average = float(known.mean()) if known.size else float("nan")
    return average, float(known.std(ddof=1) / math.sqrt(known.size)) if known.size > 1 else float("nan")


def protein_means(differences: np.ndarray, groups: list[str]) -> np.ndarray:
    """Return the mean over each protein's maps, since maps (n,) of one protein are not independent of each other."""
    return np.array([with_error(differences[np.array(groups) == group])[0] for group in dict.fromkeys(groups)])


def gain_table(outcome: dict) -> str:
    """Return differences of the summary's figures with standard errors, to show how far the means might scatter with other maps.

    Columns are each of our models minus the input, and minus the released generator, over maps and over proteins.
    """
    maps: Maps = outcome["maps"]
    groups = [outcome["groups"][name] for name in maps]
    methods = list(next(iter(maps.values())))
    columns = [(model, base) for model in methods if model not in BASELINES for base in (INPUT, RELEASED) if base in methods]
    heads = [f"{model} − {base}: {len(set(units))} {what}" + "s" * (len(set(units)) > 1) for model, base in columns
             for units, what in ((maps, "map"), (groups, "protein"))]
    rows = []
    for key, head, decimals in summary(outcome):
        row = [head]
        for model, base in columns:
            difference = values(maps, model, key) - values(maps, base, key)
            for units in (difference, protein_means(difference, groups)):
                average, error = with_error(units)
                row.append(f"{average:+.{decimals}f} ± {number(error, decimals)}")
        rows.append(row)
    return table(["mean difference ± standard error", *heads], rows)


def control_table(outcome: dict) -> list[str]:
    """Return the table of negative controls, a row for each map and model; an empty list if they were not run."""
    rows = [[name, label, *(number(found[key], decimals) for key, _, decimals in CONTROLS)]
            for name, labels in outcome["controls"].items() for label, found in labels.items()]
    if not rows:
        return []
    heads = ["map", "model", *(head for _, head, _ in CONTROLS)]
    return [f"### Negative controls\n\n{table(heads, rows)}"]


def reach_table(outcome: dict) -> str:
    """Return the table of bars, a row for each: what each of our models reaches, and by how much it falls short."""
    models = [method for method in next(iter(outcome["maps"].values())) if method not in BASELINES]
    columns = [bars(outcome, model) for model in models]
    rows = [[row[0][0], *(f"{reached}, {'met' if met else 'missed'}" for _, reached, met in row)]
            for row in zip(*columns, strict=True)]
    return table(["bar", *models], rows)


def bars(outcome: dict, model: str, by_protein: bool = False) -> list[tuple[str, str, bool]]:
    """Return (bar, what was reached, whether it is met) for one model.

    Means are over maps, or over proteins with `by_protein`.
    """
    maps: Maps = outcome["maps"]
    groups = [outcome["groups"][name] for name in maps] if by_protein else list(maps)
    fsc = "d_fsc05" if mtriage_ran(outcome) else "fsc05"
    rows: list[tuple[str, str, bool]] = []

    def gain(key: str, sign: int = 1, base: str = INPUT) -> np.ndarray:
        return sign * (values(maps, model, key) - values(maps, base, key))

    def average(figures: np.ndarray) -> float:
        return with_error(protein_means(figures, groups))[0]

    def bar(text: str, reached: float, least: float, decimals: int = 3) -> None:
        short = f" ({least - reached:.{decimals}f} short)" if reached < least else ""
        rows.append((text, number(reached, decimals) + short, bool(reached >= least)))  # NaN counts as missed

    bar(f"{'mtriage' if fsc == 'd_fsc05' else 'own'} masked FSC = 0.5 finer by 0.35 Å", average(gain(fsc, -1)), 0.35, 2)
    bar("  FSC = 0.5 on the worst map no coarser by over 0.05 Å", gain(fsc, -1).min(), -0.05, 2)
    bar("Q-score, all atoms, +0.06", average(gain("q")), 0.06)
    bar("  Q-score on the worst map not down by over 0.01", gain("q").min(), -0.01)
    bar("cubes improved, 98 % (means not subtracted)", average(values(maps, model, "improved")), 0.98)
    bar("mean cube correlation about the mean +0.05", average(gain("cube_mean")), 0.05)
    bar("CC_mask +0.03", average(gain("cc_mask")), 0.03)
    bar("CC_box +0.06", average(gain("cc_box")), 0.06)
    if fsc == "d_fsc05":
        bar("d_model finer by 1.0 Å", average(gain("d_model", -1)), 1.0, 2)
    if RELEASED in next(iter(maps.values())):
        for key, sign in ((fsc, -1), ("q", 1), ("improved", 1), ("cube_mean", 1), ("cc_mask", 1), ("cc_box", 1), ("d_model", -1)):
            lead = gain(key, sign, RELEASED)
            if not np.isfinite(lead).any():
                continue
            better = int((lead > 0).sum())
            text = f"{key} better than {RELEASED} on the mean"
            least = 0
            if key in (fsc, "q", "cc_mask"):
                least = math.ceil(len(maps) * 4 / 6)
                text += f" and on {least} of {len(maps)} maps"
            met = bool(average(lead) > 0 and better >= least)
            rows.append((text, f"{average(lead):+.3f}, {better} of {len(maps)}", met))
    found = [labels[model] for labels in outcome["controls"].values()]
    worst: tuple[tuple[str, str, Callable, float, int], ...] = (
        ("noise", "of a box of noise above the level under 1 % (worst map)", max, 0.01, -1),
        ("solvent", "of noisy solvent above the level under 1 % (worst map)", max, 0.01, -1),
        ("deleted", "of a deleted domain returns under 5 % (worst map)", max, 0.05, -1),
        ("ligand", f"of a {'planted glycan' if all(control['planted'] for control in found) else 'ligand or planted glycan'}'s "
                   "correlation kept, 90 % (worst map)", min, 0.9, 1),
    )
    for key, text, pick, limit, sign in worst if found else ():
        reached = pick((value for control in found if math.isfinite(value := control[key])), default=float("nan"))
        rows.append((text, f"{number(100 * reached, 1)} %", bool(sign * (reached - limit) >= 0)))
    return rows
