"""Measure how well maps agree with their models locally: how deposited maps differ from a model with added noise.

    python -m training.agreement --data ../data

The model's density is scaled to the map's amplitudes, shell by shell. In Gaussian windows, the map is then fitted by the model
density, multiplied by a strength and shifted. Noise makes strengths and shifts differ between low and high frequencies, whereas
a part of the molecule that is weak in the map, or misplaced in the model, is so at both. The command prints the relative
strengths of buried and exposed atoms, and of the solvent that they displace, in each train map. The ranges of
`training.degrade` are based on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import fft, ndimage
from superem.core.density import DensityMap
from superem.core.resample import resample

from . import degrade, pairs, simulate
from .command import as_command
from .density import SIGMA_PER_RESOLUTION, gaussian_density
from .metrics.fsc import soft_mask
from .metrics.grid import spatial_frequency

#: Edge of the windows of the local correlation, Å.
WINDOW = 9
#: Percentiles of the local correlation over a molecule's voxels.
PERCENTILES = np.arange(5, 96, 5)
#: Bands (frequency times resolution) and sigma of the Gaussian windows (Å) in which strengths and shifts are fitted.
BANDS = ((0.2, 0.6), (0.65, 1.05))
SIGMA = 4.0
#: HR density (network units) above which a voxel counts as lying on atoms.
ON_ATOMS = 0.5
#: Frequency bands (1/Å) in which the strengths of parts of a molecule are fitted: 12.5 to 8, 8 to 5.5, 5.5 to 4 Å.
PART_BANDS = ((0.08, 0.125), (0.125, 0.18), (0.18, 0.25))
#: Parts whose strengths are given relative to the buried main chain's; the solvent's is in electrons per Å³.
PARTS = ("main chain, exposed", "side chains, buried", "side chains, exposed", "solvent displaced")
#: Distance from atom centres up to which solvent is displaced, Å.
SOLVENT_REACH = 2.5
LOCAL = ("spread of strength, low", "spread of strength, high", "correlation of strengths", "displacement, Å")


def local_correlation(lr: np.ndarray, hr: np.ndarray, resolution: float) -> np.ndarray:
    """Return `PERCENTILES` of the local correlation of LR with HR, blurred to LR's resolution (Å), over voxels on atoms."""
    a, b = lr.astype(float), ndimage.gaussian_filter(hr.astype(float), resolution * SIGMA_PER_RESOLUTION)

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(x, WINDOW)

    covariance = mean(a * b) - mean(a) * mean(b)
    variances = (mean(a * a) - mean(a) ** 2) * (mean(b * b) - mean(b) ** 2)
    return np.percentile((covariance / np.sqrt(np.maximum(variances, 1e-12)))[hr > ON_ATOMS], PERCENTILES)


def local_fit(rng: np.random.Generator, lr: np.ndarray, hr: np.ndarray, resolution: float, count: int = 80) -> np.ndarray:
    """Return the `LOCAL` statistics of a map, from fits in up to `count` windows centred on atoms.

    They are the standard deviations of ln strength in the low and the high band, the correlation of both, and the misplacement
    (Å per component): the square root of the covariance of the shifts in the two bands, with its sign kept. Noise does not
    contribute to this covariance.
    """
    q = spatial_frequency(lr.shape, (1.0, 1.0, 1.0)) * resolution
    f, g = fft.rfftn(lr), fft.rfftn(hr)
    shell = (q / 0.08).astype(int).ravel()
    reach = int(2 * SIGMA)
    centres = np.argwhere(np.pad(hr, reach) > ON_ATOMS)
    centres = centres[rng.choice(len(centres), min(count, len(centres)), replace=False)]
    fits = []
    for low, high in BANDS:
        band = np.clip((q - low) / 0.05 + 0.5, 0, 1) * np.clip((high - q) / 0.05 + 0.5, 0, 1)
        cross, power = (np.bincount(shell, (v * band).ravel()) for v in ((f * g.conj()).real, np.abs(g) ** 2))
        match = np.maximum(cross, 0) / (power + 1e-9)
        pair = [fft.irfftn(x * band, s=lr.shape) for x in (f, g * match[shell].reshape(q.shape))]
        fits.append(_fit(np.pad(pair[0], reach), np.pad(pair[1], reach), centres, reach))
    (one, shift_one), (two, shift_two) = fits
    covariance = float((shift_one * shift_two).mean())
    return np.array([one.std(), two.std(), np.corrcoef(one, two)[0, 1], np.sign(covariance) * np.sqrt(abs(covariance))])


def _fit(lr: np.ndarray, model: np.ndarray, centres: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit `lr` by `model` around (m, 3) voxels; return ln strengths (m,) and shifts (m, 3) zyx in voxels, less their medians."""
    near = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4 * SIGMA**2))  # square root of the Gaussian weights
    weight = (near[:, None, None] * near[:, None] * near).ravel()
    parts = np.stack([model, *np.gradient(model)])
    found = np.empty((len(centres), 4))
    for row, centre in zip(found, centres, strict=True):
        at = tuple(slice(c - reach, c + reach + 1) for c in centre)
        design = parts[(slice(None), *at)].reshape(4, -1).T
        solution = np.linalg.lstsq(design * weight[:, None], lr[at].ravel() * weight, rcond=None)[0]
        strength = max(solution[0], 0.15)
        row[0], row[1:] = np.log(strength), np.clip(-solution[1:] / strength, -1.5, 1.5)
    found -= np.median(found, axis=0)
    return found[:, 0], found[:, 1:]


def part_strengths(lr: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Fit a map by the densities of parts of its molecule; return strengths relative to the first part's, (bands, parts - 1).

    `lr` and each of `parts` are (nz, ny, nx) at 1 Å. The least-squares fit uses a soft mask around the parts.
    """
    inside = soft_mask(ndimage.distance_transform_edt(np.max(parts, axis=0) < 0.01))
    q = spatial_frequency(lr.shape, (1.0, 1.0, 1.0))
    whole = [fft.rfftn(x * inside) for x in (lr, *parts)]
    found = []
    for low, high in PART_BANDS:
        f, *g = (x[(q >= low) & (q < high)] for x in whole)
        design = np.stack(g, axis=1)
        # real and imaginary parts are stacked, since strengths are real
        strengths = np.linalg.lstsq(np.vstack([design.real, design.imag]), np.concatenate([f.real, f.imag]), rcond=None)[0]
        found.append(strengths[1:] / strengths[0])
    return np.array(found)


def of_map(real: pairs.RealMap) -> np.ndarray:
    """Return the strengths of `PARTS` in a deposited map, (bands, parts), NaN beyond its resolution.

    The half of its atoms with fewer neighbours counts as exposed.
    """
    density: DensityMap = resample(real.density)
    xyz, side = real.atoms.coordinates, real.atoms.side > 0
    corner = xyz.min(0) - 8
    exposed = degrade.exposure(xyz - corner, int(np.ceil((xyz.max(0) - corner).max())) + 8) > 0.5
    geometry = (density.shape, simulate.TARGET_RESOLUTION * SIGMA_PER_RESOLUTION, density.origin, density.step)
    parts = [
        gaussian_density(xyz[chosen], real.atoms.weights[chosen], *geometry)
        for chosen in (~side & ~exposed, ~side & exposed, side & ~exposed, side & exposed)
    ]
    # nearly a union of balls: a sum of Gaussians, cut at the value that a single one has at SOLVENT_REACH
    sigma = SOLVENT_REACH / 2
    near = gaussian_density(xyz, np.ones(len(xyz)), density.shape, sigma, density.origin, density.step)
    solvent = near > np.exp(-2) / (2 * np.pi * sigma**2) ** 1.5
    found = part_strengths(density.array, [*parts, solvent.astype(np.float32)])
    found[:, -1] *= -1  # displaced solvent is missing density
    found[[(low + high) / 2 > 1 / real.resolution for low, high in PART_BANDS]] = np.nan
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the strengths of exposed atoms, side chains and solvent in each train map, by frequency."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with maps/")
    options = parser.parse_args(arguments)
    bands = [f"{1 / low:.1f} to {1 / high:.1f} Å" for low, high in PART_BANDS]
    print("Strength relative to the buried main chain's at " + ", ".join(bands))
    print(f"{'map':20s} " + " ".join(f"{p:>21s}" for p in PARTS))
    maps = pairs.read_split(options.data / "maps", "train")
    rows = {name: of_map(real) for name, real in maps.items()}
    rows["median"] = np.nanmedian(list(rows.values()), axis=0)
    for name, row in rows.items():
        print(f"{name:20s} " + " ".join(f"{'  '.join(f'{x:5.2f}' for x in part):>21s}" for part in row.T))


if __name__ == "__main__":
    as_command(main)
