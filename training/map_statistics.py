"""Statistics by which simulated maps are compared with deposited ones: of shells, local regions and cubes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from . import agreement
from .density import SIGMA_PER_RESOLUTION
from .metrics.fsc import soft_mask
from .metrics.grid import pearson, spatial_frequency

#: HR density 2 Å (`NEAR_DISTANCE`) from a lone carbon; a voxel above it counts as the molecule's. Zone masks are no tighter.
NEAR, NEAR_DISTANCE = 9e-4, 2.0
#: Centres of shells, as frequency times resolution: 1 is the resolution limit.
SHELLS = np.arange(0.15, 1.551, 0.1)
#: Shells over which the mean amplitude ratio is set to 1.
REFERENCE_SHELLS = slice(1, 4)
#: Bin edges of the histograms, in normalised density.
DENSITIES = np.linspace(-1, 2.5, 36)
CUBE = 24
BANDS = ((0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.1), (1.1, 1.4))
STATISTICS = (
    "mean inside", "deviation inside", "skewness inside", "kurtosis inside", "share below 0 inside",
    "deviation outside", "share of zeros outside", "local deviation", "spread of local deviation",
    "correlation with model", *(f"power at {a}-{b}/d" for a, b in BANDS),
)  # fmt: skip
#: A map counts as masked if more than this share of its voxels beyond 2 Å from atoms is zero; in all train maps over half is.
MASKED = 0.4

#: Statistics of a whole map: frequency times resolution at which its FSC with the model falls, and local agreement.
WHOLE = ("FSC = 0.5 at", "FSC = 0.143 at", *agreement.LOCAL)

#: Curves (maps, bins) or statistics (maps,) by name.
Measured = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A low-resolution map in network units and its HR density, (nz, ny, nx) float32 at 1 Å; resolution in Å.

    `group` is its protein; `maker` is whoever cropped it, since crops of one maker look alike, whatever the protein.
    """

    group: str
    lr: np.ndarray
    hr: np.ndarray
    resolution: float
    maker: str = ""

    @property
    def near(self) -> np.ndarray:
        """Voxels within 2 Å of an atom, bool."""
        return self.hr > NEAR

    @property
    def masked(self) -> bool:
        """Whether more than `MASKED` of the voxels outside of the molecule is zero."""
        return float((np.abs(self.lr[~self.near]) < 1e-3).mean()) > MASKED


def spectra(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return radial amplitudes relative to the model's (1 at low frequency) and the FSC with it, on `SHELLS`, in a soft mask."""
    distance = NEAR_DISTANCE + ndimage.distance_transform_edt(~sample.near)
    mask = soft_mask(distance)
    f, g = fft.rfftn(sample.lr * mask), fft.rfftn(sample.hr * mask)
    step = SHELLS[1] - SHELLS[0]
    q = spatial_frequency(sample.lr.shape, (1.0, 1.0, 1.0)) * sample.resolution
    shell = np.floor((q - SHELLS[0]) / step + 0.5).astype(int)
    chosen = (shell >= 0) & (shell < len(SHELLS)) & (q < 0.5 * sample.resolution)
    index, f, g = shell[chosen], f[chosen], g[chosen]
    cross, power_f, power_g = (
        np.bincount(index, values, len(SHELLS)) for values in ((f * g.conj()).real, np.abs(f) ** 2, np.abs(g) ** 2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        amplitude = np.sqrt(power_f / power_g)
        amplitude /= amplitude[REFERENCE_SHELLS].mean()
        return amplitude, cross / np.sqrt(power_f * power_g)


def histogram(sample: Sample) -> np.ndarray:
    """Return the density histogram of the molecule's voxels, over the bins of `DENSITIES`, as a probability density."""
    values = np.clip(sample.lr[sample.near], DENSITIES[0], DENSITIES[-1])
    return np.histogram(values, DENSITIES, density=True)[0]


def statistics(rng: np.random.Generator, sample: Sample, count: int) -> np.ndarray:
    """Return `STATISTICS` of up to `count` cubes of 24 Å centred near atoms, (cubes, len(STATISTICS)); NaN where undefined."""
    n = CUBE
    lr, hr, near = (np.pad(a, n // 2) for a in (sample.lr, sample.hr, sample.near))
    model = ndimage.gaussian_filter(hr, sample.resolution * SIGMA_PER_RESOLUTION)
    mean = ndimage.uniform_filter(lr, 5)
    deviation = np.sqrt(np.maximum(ndimage.uniform_filter(lr * lr, 5) - mean * mean, 0))
    q = spatial_frequency((n, n, n), (1.0, 1.0, 1.0)) * sample.resolution
    window = np.hanning(n + 2)[1:-1].astype(np.float32)
    window = window[:, None, None] * window[:, None] * window
    centres = np.argwhere(near)
    rows = []
    for centre in centres[rng.choice(len(centres), min(count, len(centres)), replace=False)]:
        start = np.clip(centre - n // 2, 0, np.array(lr.shape) - n)
        at = tuple(slice(s, s + n) for s in start)
        rows.append(_cube_statistics(lr[at], near[at], deviation[at], model[at], window, q))
    return np.array(rows)


def _cube_statistics(x, near, deviation, model, window, q) -> list[float]:
    inside, outside, local = x[near], x[~near], deviation[near]
    mean, sd = float(inside.mean()), float(inside.std()) + 1e-6
    z = (inside - mean) / sd
    power = np.abs(fft.rfftn((x - x.mean()) * window)) ** 2
    total = power[(q > 0.2) & (q < 1.5)].sum() + 1e-9
    bands = [np.log10(power[(q >= a) & (q < b)].sum() / total + 1e-6) for a, b in BANDS]
    shape = [mean, sd, float((z**3).mean()), float((z**4).mean()) - 3, float((inside <= 0).mean())]
    around = [float(outside.std()), float((np.abs(outside) < 1e-3).mean())] if outside.size > 50 else [np.nan] * 2
    return [*shape, *around, float(np.median(local)), float(local.std() / (local.mean() + 1e-6)),
            pearson(inside, model[near]), *bands]  # fmt: skip


def crossing(curve: np.ndarray, threshold: float) -> float:
    """Return the frequency times resolution at which an FSC on `SHELLS` first falls below `threshold`, or else the last shell."""
    below = np.flatnonzero(curve < threshold)
    if below.size == 0:
        return float(SHELLS[-1])
    i = int(below[0])
    if i == 0:
        return float(SHELLS[0])
    part = (curve[i - 1] - threshold) / (curve[i - 1] - curve[i])
    return float(SHELLS[i - 1] + part * (SHELLS[i] - SHELLS[i - 1]))


def measure(rng: np.random.Generator, samples: list[Sample], cubes: int) -> tuple[Measured, Measured, list[np.ndarray]]:
    """Return curves (maps, bins) and statistics (maps,), both by name, and the statistics of each map's cubes.

    Statistics are figures of whole maps, or medians over a map's cubes.
    """
    amplitude, correlation = (np.array(c) for c in zip(*map(spectra, samples), strict=True))
    curves = {
        "amplitude / model's": amplitude,
        "FSC with the model": correlation,
        "density histogram": np.array([histogram(s) for s in samples]),
        "local correlation": np.array([agreement.local_correlation(s.lr, s.hr, s.resolution) for s in samples]),
    }
    limits = np.array([[crossing(c, t) for t in (0.5, 0.143)] for c in correlation])
    local = np.array([agreement.local_fit(rng, s.lr, s.hr, s.resolution) for s in samples])
    whole = dict(zip(WHOLE, np.hstack([limits, local]).T, strict=True))
    each = [statistics(rng, s, cubes) for s in samples]
    medians = np.array([np.nanmedian(c, axis=0) for c in each])
    return curves, {**whole, **dict(zip(STATISTICS, medians.T, strict=True))}, each
