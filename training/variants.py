"""Measure alternative treatments of a prediction or its input, each against the model.

    python -m training.variants --data ../data/maps --weights unet              # all of them, minutes
    python -m training.variants --data ../data/maps --weights unet --only mixed cut

The table has one row per variant, with means over the maps of the gains over the input: how much finer FSC = 0.5 is, Q-score,
CC_mask, CC_box and the correlation of cubes about the mean; and the gain in Q-score of the worst map. Rows marked "oracle" use
the model: they are upper bounds, not methods. As with `training.evaluate --fast`, figures are our own metrics on the 1 Å grid.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import irfftn, rfftn
from scipy.spatial import cKDTree
from superem.core.normalise import NORMALISATIONS, Scale
from superem.core.sharpness import blur
from superem.nets.store import DEFAULT, Model, load

from .command import MEASURING, as_command
from .evaluate import Case, read_cases
from .metrics import Reference, evaluate_map_cached
from .metrics.cache import Cache
from .metrics.grid import spatial_frequency
from .metrics.qscore import scores
from .metrics.tables import table
from .predictions import Predictor

#: Figures compared: key, heading, sign of a gain.
FIGURES = (("fsc05", "FSC = 0.5 finer, Å", -1), ("q", "Q-score", 1), ("cc_mask", "CC_mask", 1), ("cc_box", "CC_box", 1),
           ("cube_mean", "cubes", 1))
#: Voxel size of the networks' grid, Å.
STEP = (1.0, 1.0, 1.0)
#: Width of the shells of `best_filter`, 1/Å.
SHELL = 0.0125
#: Frequencies, 1/Å, near which amplitudes are changed, one at a time.
NODES = (0.05, 0.09, 0.13, 0.17, 0.21, 0.25, 0.29, 0.35)
#: Sigmas, Å, from which each neighbourhood takes its best blur.
SIGMAS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
#: Density, network units, too weak to be amplified by `evened`.
FAINT = 0.05
#: Radius of a neighbourhood, Å, whose atoms share a blur.
NEIGHBOURHOOD = 6.0


@dataclass(frozen=True)
class Sample:
    """One map with its model: its reference, and input, raw prediction and result in network units, (nz, ny, nx)."""

    case: Case
    reference: Reference
    predict: Callable[..., np.ndarray]  # (array, rotations=None) -> result for another (nz, ny, nx) array on this grid
    lr: np.ndarray
    raw: np.ndarray
    sr: np.ndarray


Method = Callable[[Sample], np.ndarray]


def read_samples(data: Path, ids: list[str] | None, weights: str, cache: Cache) -> list[Sample]:
    """Return samples of the validation maps, or of those in `ids`."""
    model = load(weights)
    normalisation = NORMALISATIONS[model.card.normalisation]
    return [_sample(case, model, normalisation, cache) for case in read_cases(data, ids=ids)]


def _sample(case: Case, model: Model, normalisation: Callable[[np.ndarray], Scale], cache: Cache) -> Sample:
    def predicted(array: np.ndarray, rotations: int | None = None, **filters: Any) -> np.ndarray:
        predictor = Predictor(model, cache, rotations=rotations, **filters)
        return normalisation(array).apply(predictor(replace(case.density, array=array), finest=case.finest).array)

    array = case.density.array
    reference = Reference.cached(case.atoms, case.density, case.resolution, cache)
    lr, raw, sr = normalisation(array).apply(array), predicted(array, blur=[], follow=0), predicted(array)
    return Sample(case, reference, predicted, lr, raw, sr)


def filtered(array: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return an array (nz, ny, nx) multiplied in Fourier space by `gain` of the frequency (1/Å)."""
    return irfftn(rfftn(array) * gain(spatial_frequency(array.shape, STEP)), array.shape).astype(np.float32)


def tilted(x: Sample, node: float, factor: float) -> np.ndarray:
    """Return the result with amplitudes times `factor` at `node` 1/Å, tapering off within 0.04 1/Å.

    At the first node, all lower frequencies are changed as much as the node itself.
    """
    def gain(s: np.ndarray) -> np.ndarray:
        distance = np.abs(s - node) if node > NODES[0] else s - node
        return 1 + (factor - 1) * np.clip(1 - distance / 0.04, 0, 1)

    return filtered(x.sr, gain)


def best_filter(x: Sample) -> np.ndarray:
    """Return the result after the radial filter that brings it nearest to HR."""
    f, g = rfftn(x.sr), rfftn(x.reference.hr.array)
    shell = (spatial_frequency(x.sr.shape, STEP) / SHELL).astype(int)
    cross = np.bincount(shell.ravel(), (f * g.conj()).real.ravel())
    power = np.bincount(shell.ravel(), (np.abs(f) ** 2).ravel())
    gain = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    return irfftn(f * gain[shell], x.sr.shape).astype(np.float32)


def powered(x: Sample, exponent: float) -> np.ndarray:
    """Return the result with densities raised to a power, signs kept: contour surfaces of a given volume do not change."""
    return np.sign(x.sr) * np.abs(x.sr) ** exponent


def evened(x: Sample, sigma: float) -> np.ndarray:
    """Return the result with variations of its strength within `sigma` Å halved, except where it is weaker than `FAINT`."""
    strength = blur(x.sr**2, sigma).clip(0) + FAINT**2
    return x.sr * strength**-0.25


def b_factor(x: Sample, b: float) -> np.ndarray:
    """Return the result for the input blurred, or for negative `b` sharpened, by a B-factor in Å²."""
    return x.predict(filtered(x.case.density.array, lambda s: np.exp(-b * s**2 / 4)))


def variants() -> dict[str, Method]:
    """Return the method of each variant, by name."""
    found: dict[str, Method] = {"as shipped": lambda x: x.sr, "not filtered": lambda x: x.raw}
    found |= {f"low frequencies that follow the input's by {w}":
              partial(lambda x, w: x.predict(x.case.density.array, follow=w), w=w) for w in (0.0, 0.3, 0.9)}
    found |= {f"one blur for all, {sigma} Å": partial(lambda x, sigma: blur(x.raw, sigma), sigma=sigma)
              for sigma in (0.5, 0.7, 0.9)}
    found |= {f"input mixed in, {w:.0%}": partial(lambda x, w: (1 - w) * x.sr + w * x.lr, w=w) for w in (0.15, 0.3)}
    found |= {f"input put back below a Gaussian of {sigma} Å":
              partial(lambda x, sigma: x.sr + blur(x.lr - x.sr, sigma), sigma=sigma) for sigma in (1.5, 2.5)}
    found["negatives cut"] = lambda x: np.maximum(x.sr, 0)
    found |= {f"amplitudes at {node} 1/Å times {factor}": partial(tilted, node=node, factor=factor)
              for node in NODES for factor in (0.85, 1.15)}
    found |= {f"densities to the power {p}": partial(powered, exponent=p) for p in (0.7, 0.85, 1.15, 1.3)}
    found |= {f"strength within {sigma} Å evened out": partial(evened, sigma=sigma) for sigma in (1.5, 3.0, 6.0)}
    found["oracle: radial filter best for each map"] = best_filter
    found["oracle: nothing beyond 3 Å of the model"] = lambda x: np.where(x.reference.near, x.sr, 0)
    found |= {f"input changed by a B-factor of {b} Å²": partial(b_factor, b=b) for b in (-30, 30, 60)}
    found["predicted twice"] = lambda x: x.predict(x.sr)
    found |= {f"orientations: {n}": partial(lambda x, n: x.predict(x.case.density.array, n), n=n) for n in (1, 4)}
    return found


def figures(x: Sample, array: np.ndarray, cache: Cache) -> list[float]:
    """Return gains over the input, as in `FIGURES`."""
    before = evaluate_map_cached(x.case.density, x.reference, cache)
    after = evaluate_map_cached(replace(x.case.density, array=array.astype(np.float32)), x.reference, cache, before)
    return [sign * (after[key] - before[key]) for key, _, sign in FIGURES]


def local_blur(x: Sample) -> float:
    """Return the gain in Q-score if every neighbourhood had its best blur: an upper bound."""
    points, valid = x.reference.points, x.reference.valid
    q = np.array([scores(replace(x.case.density, array=blur(x.raw, sigma)), points, valid) for sigma in SIGMAS])
    xyz = x.reference.atoms.xyz
    around = cKDTree(xyz).query_ball_point(xyz, NEIGHBOURHOOD)
    best = np.array([q[:, atoms].mean(axis=1) for atoms in around]).argmax(axis=1)
    return float(q[best, np.arange(len(xyz))].mean() - scores(x.case.density, points, valid).mean())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(parents=[MEASURING], description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", nargs="+", help="these pairs in place of the validation maps")
    parser.add_argument("--weights", default=DEFAULT, help="name of a bundled model, or a weights file")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="variants with one of these words in their names")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cache = Cache(options.cache)
    samples = read_samples(options.data, options.ids, options.weights, cache)
    rows = []
    for name, method in variants().items():
        if options.only and not any(word in name for word in options.only):
            continue
        gains = np.array([figures(x, method(x), cache) for x in samples])
        rows.append([name, *(f"{g:+.4f}" for g in gains.mean(axis=0)), f"{gains[:, 1].min():+.4f}"])
    print(table(["variant", *(heading for _, heading, _ in FIGURES), "worst Q-score"], rows))
    if not options.only:
        bound = np.mean([local_blur(x) for x in samples])
        print(f"\noracle: the best blur for each neighbourhood of {NEIGHBOURHOOD:g} Å: Q-score {bound:+.4f}")


if __name__ == "__main__":
    as_command(main)
