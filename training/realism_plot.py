"""The figure of `training.realism`: simulated maps as bands, each deposited map as a line or a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .agreement import PERCENTILES, WINDOW
from .map_statistics import DENSITIES, SHELLS, Measured

SIMULATED, LIGHT, RANGE = "#3b6fb6", "#a9c4e6", (2.6, 5.2)

Kind = tuple[Measured, Measured]


def draw(out: Path, resolutions: list[float], real: Kind, fake: Kind, scores: Sequence[float]) -> None:
    """Draw the figure: `real` and `fake` each hold curves (maps, bins) and statistics (maps,) by name.

    Parameters
    ----------
    out
        PNG file.
    resolutions
        Resolution of each deposited map, Å.
    real, fake
        As measured by `training.realism.main`.
    scores
        The classifier's accuracy on left-out proteins: for all simulated maps, and for masked ones.
    """
    figure, axes = plt.subplot_mosaic(
        [["amplitude", "fsc", "strips"], ["density", "local", "strips"]], figsize=(16, 8.4), layout="constrained"
    )
    middles = (DENSITIES[1:] + DENSITIES[:-1]) / 2
    panels = (
        (axes["amplitude"], "amplitude / model's", SHELLS, "frequency × resolution", "|F map| / |F model|, 1 at low frequency"),
        (axes["fsc"], "FSC with the model", SHELLS, "frequency × resolution", "FSC with the model, soft mask"),
        (axes["density"], "density histogram", middles, "density, network units", "share of voxels within 2 Å of an atom"),
        (axes["local"], "local correlation", PERCENTILES, "percentile of the map's voxels on atoms",
         f"correlation with the model in {WINDOW} Å windows"),
    )  # fmt: skip
    colour = plt.get_cmap("plasma_r")
    for ax, name, x, below, beside in panels:
        _bands(ax, x, fake[0][name])
        for curve, d in zip(real[0][name], resolutions, strict=True):
            ax.plot(x, curve, lw=1, color=colour(0.15 + 0.85 * (d - RANGE[0]) / (RANGE[1] - RANGE[0])))
        ax.set(xlabel=below, ylabel=beside)
    axes["amplitude"].set(yscale="log", ylim=(5e-3, 4))
    axes["fsc"].axhline(0.5, color="0.6", lw=0.8, ls=":")
    for ax in (axes["amplitude"], axes["fsc"]):
        ax.axvline(1, color="0.6", lw=0.8, ls=":")
    axes["amplitude"].legend(loc="lower left", fontsize=9)
    bar = figure.colorbar(
        plt.cm.ScalarMappable(plt.Normalize(*RANGE), plt.get_cmap("plasma_r")), ax=axes["fsc"], pad=0.02, shrink=0.9
    )
    bar.set_label("deposited map, a line each: resolution (Å)")
    _strips(axes["strips"], real[1], fake[1])
    figure.suptitle(
        f"{len(resolutions)} deposited train maps, {len(next(iter(fake[1].values())))} simulated ones. A classifier tells their"
        f" cubes apart\nwith {100 * scores[0]:.0f} % accuracy, {100 * scores[1]:.0f} % where both are masked"
        " (50 % is chance).",
        fontsize=11,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _bands(ax: Axes, x: np.ndarray, curves: np.ndarray) -> None:
    """Plot the median, the quartiles and the 5 to 95 % band of simulated `curves` (maps, len(x))."""
    low, first, middle, third, high = np.nanpercentile(curves, [5, 25, 50, 75, 95], axis=0)
    ax.fill_between(x, low, high, color=LIGHT, alpha=0.5, lw=0, label="simulated, 5–95 %")
    ax.fill_between(x, first, third, color=SIMULATED, alpha=0.4, lw=0, label="simulated, quartiles")
    ax.plot(x, middle, color=SIMULATED, lw=2, label="simulated, median")


def _strips(ax: Axes, real: dict[str, np.ndarray], fake: dict[str, np.ndarray]) -> None:
    """Plot one row per statistic, in half-widths of the simulated maps' 5 to 95 % band about their median."""
    for row, name in enumerate(real):
        low, first, middle, third, high = np.nanpercentile(fake[name], [5, 25, 50, 75, 95])
        unit = (high - low) / 2 + 1e-9
        for left, right, shade in ((low, high, LIGHT), (first, third, SIMULATED)):
            ax.barh(row, (right - left) / unit, left=(left - middle) / unit, height=0.6, color=shade, alpha=0.6)
        at = np.clip((real[name] - middle) / unit, -3, 3)
        ax.plot(at, np.full(len(at), row), "o", ms=4, mfc="none", mec="#c0392b", mew=0.9,
                label="a deposited map" if row == 0 else None)  # fmt: skip
    ax.set(yticks=range(len(real)), yticklabels=list(real), xlim=(-3.2, 3.2), ylim=(len(real) + 0.9, -0.5),
           xlabel="from the simulated median, half-widths of its 5–95 % band")  # fmt: skip
    ax.tick_params(axis="y", labelsize=8)
    ax.axvline(0, color=SIMULATED, lw=1)
    ax.legend(loc="lower right", fontsize=9)
