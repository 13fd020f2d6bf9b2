"""Compare simulated maps with deposited ones: spectra, densities, local agreement with the model, and a classifier.

    python -m training.realism --data ../data --out docs/images/realism.png

Deposited maps are those of the train split within the simulator's range of resolutions, resampled to 1 Å and
normalised; validation maps are not read. Both kinds go through the same functions. The command prints a table, and
the accuracy of a logistic regression that tells simulated from deposited cubes of proteins that it was not trained on. For
comparison, it prints the accuracy of the same regression between maps of the same kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from superem.core.normalise import robust
from superem.core.resample import resample

from . import pairs, simulate
from .classify import accuracy, references
from .command import STRUCTURES, as_command
from .density import SIGMA_PER_RESOLUTION, gaussian_density
from .map_statistics import SHELLS, STATISTICS, Measured, Sample, measure
from .structures import Scatterers, load_structures

#: Proteins on which the present ranges of noise, weighting, filters and side chains were not tuned (other ranges were).
UNSEEN = ("7mjs", "7nqk", "FrhA", "PCV2_cap", "kinesin_MT")

#: Subsets of statistics on which the classifier is run separately.
FAMILIES = {
    "all statistics": STATISTICS,
    "without those outside of the molecule": tuple(s for s in STATISTICS if "outside" not in s),
    "power by frequency alone": STATISTICS[10:],
    "densities inside alone": STATISTICS[:5],
    "local deviations alone": STATISTICS[7:9],
    "correlation with the model alone": STATISTICS[9:10],
    "those outside of the molecule alone": STATISTICS[5:7],
}
#: Shells (frequency times resolution) for which curves on `SHELLS` are printed, and the percentiles printed of all statistics.
PRINTED = (0.15, 0.35, 0.55, 0.75, 0.95, 1.15)
QUANTILES = (10, 25, 50, 75, 90)


def deposited(folder: Path, lowest: float = 2.6, highest: float = 6.0) -> dict[str, Sample]:
    """Return train maps of `folder`/pairs.csv, by name, whose resolution (Å) lies in the simulator's range."""
    samples = {}
    for name, real in pairs.read_split(folder, "train").items():
        if lowest <= real.resolution <= highest:
            density = resample(real.density)
            geometry = (density.shape, simulate.TARGET_RESOLUTION * SIGMA_PER_RESOLUTION, density.origin, density.step)
            hr = gaussian_density(real.atoms.coordinates, real.atoms.weights, *geometry) / np.float32(simulate.TARGET_UNIT)
            samples[name] = Sample(real.group, _normalise(density.array), hr, real.resolution, name.split("_")[0])
    return samples


def simulated(rng: np.random.Generator, sets: dict[str, list[Scatterers]], count: int) -> list[Sample]:
    """Draw maps from the simulator, without its pairs of noise alone."""
    molecules = (pair for pair in simulate.stream(rng, sets) if pair.hr.any())
    samples = []
    for number in range(count):
        pair = next(molecules)
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        samples.append(Sample(f"simulated {number}", _normalise(lr), hr, pair.resolution))
    return samples


def _normalise(array: np.ndarray) -> np.ndarray:
    """Normalise twice to network units, since simulated pairs come normalised and then scaled at random."""
    once = robust(array).apply(array)
    return robust(once).apply(once)


def inside_share(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of `values` (maps, ...) within the 5 to 95 % band of `reference` (maps, ...), over all columns."""
    low, high = np.nanpercentile(reference, [5, 95], axis=0)
    known = np.isfinite(values)
    return float(((values >= low) & (values <= high))[known].mean())


def quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted `QUANTILES` of `values` (maps,), ignoring undefined ones."""
    known = np.isfinite(values)
    values, weights = values[known], weights[known]
    order = np.argsort(values)
    middle = np.cumsum(weights[order]) - 0.5 * weights[order]
    return np.interp(np.array(QUANTILES) / 100, middle / weights.sum(), values[order])


def table(real: Measured, fake: Measured, groups: list[str]) -> str:
    """Return a row for each statistic: quantiles of both kinds, and the share of each kind within the other's 5 to 95 % band.

    In the quantiles of deposited maps, every protein in `groups` has the same weight.
    """
    share = np.array([1 / groups.count(g) for g in groups])
    percent = "  ".join(f"{q:3d} %" for q in QUANTILES)
    lines = [f"{'statistic':26s} {'deposited:':>10s} {percent} | simulated: {percent} | dep. in sim., sim. in dep."]

    def add(name: str, r: np.ndarray, f: np.ndarray) -> None:
        one, two = (
            " ".join(f"{x:6.2f}" for x in quantiles(v, w)) for v, w in ((r, share), (f, np.ones(len(f))))
        )
        lines.append(f"{name:26s} {'':10s} {one} | {'':10s} {two} | {_shares(r, f)}")

    for name in real:
        r, f = real[name], fake[name]
        if r.ndim == 1:
            add(name, r, f)
            continue
        lines.append(f"{name:26s} {r.shape[1]} bins of each map{'':80s} | {_shares(r, f)}")
        if r.shape[1] == len(SHELLS):
            for q in PRINTED:
                k = int(np.argmin(np.abs(SHELLS - q)))
                add(f"  at {SHELLS[k]:.2f} of the limit", r[:, k], f[:, k])
    return "\n".join(lines)


def _shares(real: np.ndarray, fake: np.ndarray) -> str:
    return f"{100 * inside_share(real, fake):4.0f} % {100 * inside_share(fake, real):4.0f} %"


def tell_apart(rng: np.random.Generator, real: list[Sample], fake: list[Sample], cubes: list[np.ndarray],
               fake_cubes: list[np.ndarray]) -> list[float]:
    """Print how well the classifier tells the cubes of both kinds apart, reference accuracies, and which statistics decide.

    Returns its accuracy with all statistics: against all simulated maps, and against the masked ones.
    """
    groups, makers = ([getattr(s, name) for s in real] for name in ("group", "maker"))
    score, each, weights = accuracy(rng, cubes, fake_cubes, groups)
    masked_cubes = [c for c, sample in zip(fake_cubes, fake, strict=True) if sample.masked]
    print(f"\nClassifier, on proteins left out (50 % is chance). {sum(map(len, cubes))} cubes of {len(real)} deposited maps of"
          f" {len(each)} proteins; {sum(map(len, fake_cubes))} cubes of {len(fake)} simulated maps, {len(masked_cubes)} of them"
          f" masked, as {sum(s.masked for s in real)} of the deposited ones are.")
    print(f"{'accuracy, %':40s} all simulated, masked ones | the same, crops of the same maker left out too")
    shown = {}
    for name, family in FAMILIES.items():
        columns = [STATISTICS.index(s) for s in family]
        some, few, masked_few = ([c[:, columns] for c in kind] for kind in (cubes, fake_cubes, masked_cubes))
        shown[name] = [accuracy(rng, some, f, groups, makers=m)[0] for m in (None, makers) for f in (few, masked_few)]
        print(f"{name:40s} " + "{:13.0f} {:12.0f} | {:8.0f} {:12.0f}".format(*(100 * x for x in shown[name])))
    print("Where there is nothing to tell apart, mean (5 to 95 %): simulated maps in the place of deposited ones {:.0f} %"
          " ({:.0f} to {:.0f} %), half of the proteins against the other half {:.0f} % ({:.0f} to {:.0f} %).".format(
              *(100 * x for r in references(rng, cubes, fake_cubes, groups) for x in (r.mean(), *np.percentile(r, [5, 95])))))
    print("Share of a protein's cubes recognised: " + ", ".join(f"{g} {100 * s:.0f} %" for g, s in each.items()))
    simulated_right = 2 * score - np.mean(list(each.values()))
    unseen = [g for g in UNSEEN if g in each]  # fetched data may lack some of them
    if unseen:
        print(f"Accuracy on the proteins that the last ranges were not tuned on ({', '.join(unseen)}):"
              f" {50 * (np.mean([each[g] for g in unseen]) + simulated_right):.0f} %")
    order = np.argsort(-np.abs(weights))
    print("What tells them apart most (+: larger in deposited maps): "
          + ", ".join(f"{STATISTICS[i]} {weights[i]:+.1f}" for i in order[:6]))
    return shown["all statistics"][:2]


def main(arguments: list[str] | None = None) -> None:
    """Measure both kinds of maps, print the table and the classifier's accuracy, and draw the figure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with maps/ and structures/")
    parser.add_argument("--out", type=Path, help="picture to write")
    parser.add_argument("--count", type=int, default=160, help="simulated maps")
    parser.add_argument("--cubes", type=int, default=24, help="cubes per simulated map; three times as many per deposited map")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.count < 20:
        parser.error("--count: at least 20 simulated maps are needed, since some stand in for the deposited ones")
    rng = np.random.default_rng(options.seed)
    real = deposited(options.data / "maps")
    fake = simulated(rng, load_structures(options.data / "structures", STRUCTURES), options.count)
    curves, medians, cubes = measure(rng, list(real.values()), 3 * options.cubes)
    fake_curves, fake_medians, fake_cubes = measure(rng, fake, options.cubes)
    groups = [s.group for s in real.values()]
    print(table({**curves, **medians}, {**fake_curves, **fake_medians}, groups))
    if len(set(groups)) < 4:
        raise SystemExit("The classifier and the picture need deposited maps of four proteins or more, since one half of them is"
                         " compared with the other.")
    scores = tell_apart(rng, list(real.values()), fake, cubes, fake_cubes)
    if options.out:
        from .realism_plot import draw  # imports matplotlib, which only the figure needs

        resolutions = [s.resolution for s in real.values()]
        draw(options.out, resolutions, (curves, medians), (fake_curves, fake_medians), scores)


if __name__ == "__main__":
    as_command(main)
