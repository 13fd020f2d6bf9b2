"""Measure how well a result's local detail predicts where it is right, and fit the table that does so (`core/reliability.py`).

    python -m training.reliability --data ../data/maps --weights unet
    python -m training.reliability --data ../data/maps --weights unet --also 2n1f_A EMMIVox_24095
    python -m training.reliability --data ../data/maps --weights unet --reported
    python -m training.export --weights src/weights/unet.safetensors --reliability '[[0, 0], [0.06, 0.1], ...]'

At every atom of a model, the local strength of detail in the super-resolved map is compared with the mean Q-score, in that
map, of the atoms within 5 Å. A piecewise linear curve that starts at (0, 0) and never falls gives the Q-score to expect for a
strength of detail. It is fitted to the validation maps, each with the same weight; train maps are of no use, since the network
has seen them. The figures printed for a map use a curve fitted to the maps of the other proteins, so that they hold for new
proteins. `--also` names maps to which no curve is fitted. The last line is the curve of all validation maps, for the card.

Rank correlations within a map are also given for the input's own detail, and for the local correlation of input and output.
The last column is about density that the network invents. A map with the real map's amplitudes and random phases holds no
molecule; the column is the mean expected Q-score where its result is above the level (as in `training/metrics/controls.py`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from superem.core.density import DensityMap
from superem.core.normalise import NORMALISATIONS
from superem.core.reliability import WINDOW, local_detail
from superem.nets.store import DEFAULT, load

from .command import MEASURING, as_command
from .evaluate import read_cases
from .metrics import Reference
from .metrics.cache import Cache
from .metrics.control_maps import randomised_phases
from .metrics.controls import matched_level
from .metrics.grid import sample
from .metrics.qscore import scores
from .metrics.tables import table
from .predictions import Predictor

#: Q-scores are averaged over the atoms within this distance, Å, since a single atom's is too noisy.
NEIGHBOURHOOD = 5.0
#: Nodes of the piecewise linear curve: strengths of detail, network units.
NODES = (0.0, 0.06, 0.09, 0.12, 0.16, 0.22)


@dataclass(frozen=True)
class Sample:
    """One map: at each atom (n,), the detail of result and input, their local correlation, and the local Q-score.

    `invented` (m,) is the detail wherever the result for random phases is above the level.
    """

    name: str
    group: str
    detail: np.ndarray
    input_detail: np.ndarray
    agreement: np.ndarray
    q: np.ndarray
    invented: np.ndarray


def read_samples(
    data: Path, weights: str, also: list[str], cache: Cache, rotations: int | None = None, reported: bool = False
) -> list[Sample]:
    """Return samples of the validation maps and of those in `also`, predicted with the `reported` resolution or one found.

    Raises
    ------
    SystemExit
        If all validation maps are of one protein.
    """
    cases = read_cases(data)
    if len({case.group for case in cases}) < 2:
        raise SystemExit("A curve is judged by maps of other proteins: validation maps of two proteins or more are needed.")
    model = load(weights)
    predictors = Predictor(model, cache, rotations=rotations), Predictor(model, cache, rotations=rotations, follow=0)

    def normalised(density: DensityMap, like: DensityMap) -> np.ndarray:
        return NORMALISATIONS[model.card.normalisation](like.array).apply(density.array)

    found = []
    for case in cases + (read_cases(data, ids=also) if also else []):
        reference = Reference.cached(case.atoms, case.density, case.resolution, cache)
        resolution = case.resolution if reported else None
        predicted, drawn = (partial(p, resolution=resolution, finest=case.finest) for p in predictors)
        result = predicted(case.density)
        lr, sr = (normalised(density, case.density) for density in (case.density, drawn(case.density)))
        xyz = reference.atoms.xyz
        q = scores(result, reference.points, reference.valid)
        local = np.array([q[near].mean() for near in cKDTree(xyz).query_ball_point(xyz, NEIGHBOURHOOD)])
        detail, input_detail, agreement = (
            sample(replace(result, array=a), xyz) for a in (local_detail(sr), local_detail(lr), local_agreement(lr, sr)))
        phases = randomised_phases(case.density, np.random.default_rng(0))
        made = predicted(phases)
        detail_made = local_detail(normalised(drawn(phases), phases))
        invented = detail_made[made.array >= matched_level(result, reference)]
        found.append(Sample(case.name, case.group, detail, input_detail, agreement, local, invented))
    return found


def local_agreement(lr: np.ndarray, sr: np.ndarray) -> np.ndarray:
    """Return the correlation about the mean of two maps in a Gaussian window around each voxel, (nz, ny, nx)."""
    product, a, b = (gaussian_filter(x, WINDOW, mode="nearest") for x in (lr * sr, lr, sr))
    return (product - a * b) / np.maximum(local_detail(lr) * local_detail(sr), 1e-6)


def fit(samples: list[Sample]) -> list[list[float]]:
    """Fit the non-decreasing curve by least squares, all maps weighted equally; return (detail, Q-score) pairs."""
    nodes = np.array(NODES)

    def steps(detail: np.ndarray) -> np.ndarray:
        return np.clip((detail[:, None] - nodes[:-1]) / np.diff(nodes), 0, 1)

    weights = [np.full(len(s.q), len(s.q) ** -0.5) for s in samples]
    design = np.concatenate([steps(s.detail) * w[:, None] for s, w in zip(samples, weights, strict=True)])
    rises, _ = nnls(design, np.concatenate([s.q * w for s, w in zip(samples, weights, strict=True)]))
    return [[d, round(float(q), 3)] for d, q in zip(NODES, np.concatenate([[0], np.cumsum(rises)]), strict=True)]


def expected(samples: list[Sample], detail: np.ndarray) -> np.ndarray:
    """Return the Q-scores (n,) that the curve fitted to `samples` predicts."""
    return np.interp(detail, *np.array(fit(samples)).T)


def main(arguments: list[str] | None = None) -> None:
    """Print one row per map, and the table for the card."""
    parser = argparse.ArgumentParser(parents=[MEASURING], description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=DEFAULT, help="name of a bundled model, or a weights file")
    parser.add_argument("--also", nargs="*", default=[], metavar="ID", help="maps that are measured, but not used in the fit")
    parser.add_argument("--rotations", type=int, help="orientations to average over (as many as the card says)")
    parser.add_argument("--reported", action="store_true",
                        help="judge predictions with the reported resolution by the curve of predictions that found theirs")
    parser.add_argument("--markdown", type=Path, help="write the table here too, for the model card")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    read = partial(read_samples, options.data, options.weights, options.also, Cache(options.cache), options.rotations)
    samples = read()
    fitted = [s for s in samples if s.name not in options.also]
    if options.reported:
        samples = read(reported=True)
    rows = []
    for s in samples:
        others = [o for o in fitted if o.group != s.group]
        right, made_up = np.split(expected(others, np.concatenate([s.detail, s.invented])), [len(s.detail)])
        constant = np.mean([o.q.mean() for o in others])
        random = f"{made_up.mean():.2f}" if made_up.size else "–"
        ranks = [spearmanr(signal, s.q)[0] for signal in (s.detail, s.input_detail, s.agreement)]
        errors = (np.abs(guess - s.q).mean() for guess in (right, constant))
        rows.append([s.name + " (not fitted)" * (s.name in options.also), f"{s.q.mean():.2f}", f"{right.mean():.2f}",
                     *(f"{e:.2f}" for e in errors), *(f"{r:+.2f}" for r in ranks), random])
    shared = [row for row, s in zip(rows, samples, strict=True) if s.name not in options.also]
    means = [np.mean([float(row[n]) for row in shared]) for n in range(1, 8)]
    rows.append(["**mean of the fitted**", *(f"{m:.2f}" for m in means[:4]), *(f"{m:+.2f}" for m in means[4:]), ""])
    text = table(["map", "local Q-score", "expected Q-score", "mean error", "error of the other proteins' mean",
                  "rank correlation of Q with detail", "with the input's detail", "with their agreement",
                  "expected for random phases"], rows)
    print(f"{text}\n\n{json.dumps(fit(fitted))}")
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(text + "\n")


if __name__ == "__main__":
    as_command(main)
