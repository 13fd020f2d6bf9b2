"""How a map and its model agree from place to place: what sets deposited maps apart from a model with noise on it.

    python -m training.agreement --data ../data

The model's density is brought to the map's amplitudes, shell by shell; in Gaussian windows the map is then fitted by the
model times a strength, shifted. Noise makes strengths and shifts at low frequency differ from those at high frequency, while a
part of the molecule that is weak, or that the model has misplaced, is so at both. The command prints how strong buried and
exposed atoms, and the solvent that they displace, are in each train map: the evidence of `training.degrade`.
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

#: Edge (Å) of the windows of the local correlation.
WINDOW = 9
#: Percentiles over a molecule's voxels that describe the local correlation.
PERCENTILES = np.arange(5, 96, 5)
#: Bands of frequency times resolution, and the sigma (Å) of the windows, in which strengths and shifts are fitted.
BANDS = ((0.2, 0.6), (0.65, 1.05))
SIGMA = 4.0
#: HR density (network units) above which a voxel lies on atoms.
ON_ATOMS = 0.5
#: Bands of frequency (1/Å) in which the strengths of parts of a molecule are fitted: 12.5 to 8, 8 to 5.5, 5.5 to 4 Å.
PART_BANDS = ((0.08, 0.125), (0.125, 0.18), (0.18, 0.25))
#: The parts, after the buried main chain, to which they are compared. The solvent's is electrons per Å³.
PARTS = ("main chain, exposed", "side chains, buried", "side chains, exposed", "solvent displaced")
#: The solvent that atoms displace reaches so far (Å) from their centres.
SOLVENT_REACH = 2.5
LOCAL = ("strength varies, low", "strength varies, high", "strength low ~ high", "displacement, Å")


def local_correlation(lr: np.ndarray, hr: np.ndarray, resolution: float) -> np.ndarray:
    """`PERCENTILES`, over voxels on atoms, of the correlation of LR with HR at LR's resolution (Å) in `WINDOW` Å."""
    a, b = lr.astype(float), ndimage.gaussian_filter(hr.astype(float), resolution * SIGMA_PER_RESOLUTION)

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(x, WINDOW)

    covariance = mean(a * b) - mean(a) * mean(b)
    variances = (mean(a * a) - mean(a) ** 2) * (mean(b * b) - mean(b) ** 2)
    return np.percentile((covariance / np.sqrt(np.maximum(variances, 1e-12)))[hr > ON_ATOMS], PERCENTILES)


def local_fit(rng: np.random.Generator, lr: np.ndarray, hr: np.ndarray, resolution: float, count: int = 80) -> np.ndarray:
    """`LOCAL` of a map: how strengths (ln) vary in either band, their correlation, and misplacement (Å a component).

    The last one is the root of the covariance of the shifts at low and at high frequency, to which noise adds nothing;
    its sign is kept.
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
    """Logarithms of strengths (m,) and shifts (m, 3) zyx of `lr` against `model` round (m, 3) voxels, less their medians."""
    near = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4 * SIGMA**2))  # root of the Gaussian's weights
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
    """Least squares of a map on densities of parts of its molecule, (bands, parts - 1), relative to the first part.

    `lr` and each of `parts` are (nz, ny, nx) at 1 Å, in a soft mask round where any of the parts is.
    """
    inside = soft_mask(ndimage.distance_transform_edt(np.max(parts, axis=0) < 0.01))
    q = spatial_frequency(lr.shape, (1.0, 1.0, 1.0))
    whole = [fft.rfftn(x * inside) for x in (lr, *parts)]
    found = []
    for low, high in PART_BANDS:
        f, *g = (x[(q >= low) & (q < high)] for x in whole)
        design = np.stack(g, axis=1)
        # both parts of the complex numbers, since strengths are real
        strengths = np.linalg.lstsq(np.vstack([design.real, design.imag]), np.concatenate([f.real, f.imag]), rcond=None)[0]
        found.append(strengths[1:] / strengths[0])
    return np.array(found)


def of_map(real: pairs.RealMap) -> np.ndarray:
    """Strengths of `PARTS` in a deposited map, (bands, parts), NaN beyond its resolution.

    Exposed is the half of its atoms with fewer others round them.
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
    # a union of balls, all but: Gaussians, cut at what a lone one has at the solvent's reach
    sigma = SOLVENT_REACH / 2
    near = gaussian_density(xyz, np.ones(len(xyz)), density.shape, sigma, density.origin, density.step)
    solvent = near > np.exp(-2) / (2 * np.pi * sigma**2) ** 1.5
    found = part_strengths(density.array, [*parts, solvent.astype(np.float32)])
    found[:, -1] *= -1  # what is displaced is missing
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
