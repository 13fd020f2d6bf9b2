"""Simulated pairs: a map as it would be deposited (LR) of an atomic structure, and its HR density.

The physics, in order: atoms with B-factors that vary along the chain and smoothly in space; bulk solvent; acidic
side chains lost to radiation; an overall fall-off; noise whose power meets the signal's where the model-map FSC
is 0.5, at the stated resolution; FSC weighting, low-pass filters, the cubic limit of the voxel; masks of several
kinds and clipping, since most deposited crops have one. All on a 1 Å grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation
from superem.core.density import DensityMap
from superem.core.normalise import robust
from superem.core.resample import resample, resample_onto

from .density import SIGMA_PER_RESOLUTION, gaussian_density
from .structures import Atoms

#: The network's target: every atom as a Gaussian of this resolution (Å). A blunter HR is this one, blurred.
TARGET_RESOLUTION = 1.8
#: HR density (electrons per Å³) that becomes 1 in network units: about the 95th percentile inside a protein.
TARGET_UNIT = 1.9
#: How often each set of structures is drawn, where it exists.
SET_SHARES = {"PDownB": 0.42, "BM5": 0.33, "ProtDNA": 0.07, "IOMemP": 0.14, "aptamer": 0.04}
#: Share of pairs that hold no molecule.
NOISE_SHARE = 0.06
#: Atoms are first spread with this B-factor (Å²), the smallest whose Gaussian a 1 Å grid holds well.
SPREAD_B = 30.0


@dataclass(frozen=True)
class Pair:
    """One training pair on a 1 Å grid.

    Attributes
    ----------
    lr
        (n, n, n) float16, in network units (`robust` normalisation).
    hr
        (n, n, n) float16, in units of `TARGET_UNIT`.
    trusted
        (n, n, n) uint8, 255 where HR is known to be right; None where it is right everywhere.
    resolution
        Å.
    """

    lr: np.ndarray
    hr: np.ndarray
    trusted: np.ndarray | None
    resolution: float


def target_density(coordinates: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """HR density in network units at the target resolution, (n, n, n) float32, of atoms at (m, 3) xyz voxels."""
    sigma = TARGET_RESOLUTION * SIGMA_PER_RESOLUTION
    return gaussian_density(coordinates, weights, (n, n, n), sigma) / np.float32(TARGET_UNIT)


def frequencies(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared length (1/Å²) and largest component (1/Å) of each frequency of an rfftn of (n, n, n) at 1 Å."""
    full, half = np.abs(fft.fftfreq(n)).astype(np.float32), fft.rfftfreq(n).astype(np.float32)
    z, y, x = full[:, None, None], full[None, :, None], half[None, None, :]
    return z * z + y * y + x * x, np.maximum(np.maximum(z, y), x)


def radial_power(spectrum: np.ndarray, q2: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Shell (0...n) of each frequency of an rfftn of (n, n, n), and the mean squared amplitude in each shell."""
    shell = np.minimum(np.rint(np.sqrt(q2) * n).astype(int), n)
    sums = np.bincount(shell.ravel(), np.abs(spectrum).ravel() ** 2, minlength=n + 1)
    return shell, sums / np.maximum(np.bincount(shell.ravel(), minlength=n + 1), 1)


def smooth_field(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """Random field (n, n, n) of mean 0, deviation 1, correlated over `length` Å."""
    coarse = max(4, int(np.ceil(n / length)) + 3)
    field = ndimage.zoom(rng.standard_normal((coarse,) * 3), n / (coarse - 1), order=2)[:n, :n, :n]
    return ((field - field.mean()) / (field.std() + 1e-9)).astype(np.float32)


def simulate(rng: np.random.Generator, atoms: Atoms, largest: int = 80) -> Pair:
    """Draw one pair from a structure: a random orientation, and a random place where it is larger than the box."""
    xyz = Rotation.random(random_state=int(rng.integers(2**31))).apply(atoms.coordinates)
    extent = float(np.ptp(xyz, axis=0).max())
    n = int(np.clip(8 * round((extent + rng.uniform(8, 24)) / 8), 56, largest))
    middle = xyz[rng.integers(len(xyz))] if extent > n else (xyz.min(0) + xyz.max(0)) / 2
    xyz = xyz - middle + n / 2 + rng.uniform(-3, 3, 3)
    inside = np.all((xyz > -6) & (xyz < n + 6), axis=1)
    xyz, atoms = xyz[inside], atoms[inside]

    d = float(2.6 + 3.4 * rng.beta(1.2, 1.8))
    q2, q_max = frequencies(n)
    spectrum, occupancy = _signal(rng, xyz, atoms, n, d, q2)
    voxel = np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, n - 1)
    cloud = ndimage.gaussian_filter(_counts(voxel, n), 2.5)
    molecule = (cloud > 0.4 * np.median(cloud[cloud > cloud.max() * 0.2])).astype(np.float32)
    spectrum = spectrum - _solvent(rng, molecule, n, q2)
    voxel_size = rng.uniform(0.7, min(1.6, d / 2.3))
    density = _deposit(rng, spectrum, molecule, n, d, q2, q_max <= 1 / (2 * voxel_size))
    mask = _mask(rng, xyz, voxel, atoms, molecule, n)
    density = _crop(rng, density, mask, voxel_size)
    if rng.random() < 0.12:  # clipped at a threshold, as by a "zone" of someone's contour
        level = np.percentile(density[molecule > 0], rng.uniform(10, 45))
        density = np.where(density > max(level, 0), density, 0)

    kept = (mask[tuple(voxel.T)] > 0.5) & (occupancy > 0.3)
    hr = target_density(xyz[kept], atoms.weights[kept], n)
    lr = robust(density).apply(density) * rng.uniform(0.8, 1.25)
    return Pair(lr.astype(np.float16), hr.astype(np.float16), None, d)


def noise(rng: np.random.Generator) -> Pair:
    """A pair without a molecule: noise of a map's spectrum, whole or inside a mask, and nothing in HR.

    Normalisation scales it until it looks as strong as a molecule; the network must still see that it is none.
    """
    n, d = 64, float(2.6 + 3.4 * rng.beta(1.2, 1.8))
    q2, _ = frequencies(n)
    fall = np.exp(-rng.uniform(-1, 4) * q2 * d**2 - 0.5 * (np.sqrt(q2) * d * rng.uniform(0.8, 1.1)) ** 8)
    field = fft.irfftn(fft.rfftn(rng.standard_normal((n, n, n))) * fall, s=(n, n, n)).astype(np.float32)
    if rng.random() < 0.5:
        place = smooth_field(rng, n, rng.uniform(8, 30))
        field *= np.clip((place - rng.uniform(-0.5, 1)) / rng.uniform(0.02, 0.5), 0, 1)
    if rng.random() < 0.3:
        np.maximum(field, 0, out=field)
    lr = robust(field).apply(field) * rng.uniform(0.5, 1.25)
    return Pair(lr.astype(np.float16), np.zeros((n, n, n), np.float16), None, d)


def _counts(voxel: np.ndarray, n: int) -> np.ndarray:
    """Atoms in each voxel, (n, n, n) float32, of their (m, 3) zyx indices."""
    flat = np.ravel_multi_index(tuple(voxel.T), (n, n, n))
    return np.bincount(flat, minlength=n**3).reshape(n, n, n).astype(np.float32)


def _signal(rng, xyz, atoms, n, d, q2) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transform of the atoms with their own B-factors, and the occupancy drawn for each."""
    b = atoms.b_factors
    spread = np.percentile(b, 75) - np.percentile(b, 25) + 5
    relative = np.clip((b - np.median(b)) / spread, -1.5, 4)
    field = smooth_field(rng, n, rng.uniform(12, 30))
    voxel = np.clip(xyz[:, ::-1].astype(int), 0, n - 1)
    local = field[tuple(voxel.T)]
    unit = (d / 3.5) ** 2
    delta = unit * (rng.uniform(3, 25) * relative + rng.uniform(5, 35) * local + rng.uniform(0, 20) * (atoms.side > 0))
    delta = np.clip(delta - np.median(delta), -60 * unit, 200 * unit)

    occupancy = np.ones(len(xyz), np.float32)
    acidic = atoms.side == 2
    occupancy[acidic] = rng.uniform(0.2, 1)
    lost = (atoms.side > 0) & (relative > 1.5) & (rng.random(len(xyz)) < rng.uniform(0, 0.5))
    occupancy[lost] = 0.35
    # whole stretches that moved too much to be seen leave the map and the target alike
    if rng.random() < 0.25:
        gone = ndimage.map_coordinates(smooth_field(rng, n, 20), xyz.T[::-1], order=1, mode="nearest") > 1.6
        occupancy[gone] = 0

    # effective B-factor after the depositor's sharpening: amplitude at the resolution limit is exp(-fall)
    fall = rng.uniform(0.4, 3.6)
    overall = 4 * d * d * fall
    sigma = np.sqrt(SPREAD_B / (8 * np.pi**2))
    edges = np.unique(np.quantile(delta, np.linspace(0, 1, 8)))
    group = np.clip(np.searchsorted(edges, delta, side="right") - 1, 0, max(len(edges) - 2, 0))
    total = np.zeros(q2.shape, np.complex64)
    for g in np.unique(group):
        chosen = group == g
        grid = gaussian_density(xyz[chosen], atoms.weights[chosen] * occupancy[chosen], (n, n, n), sigma, cutoff=3.5)
        b_group = overall + float(np.mean(delta[chosen])) - SPREAD_B
        total += fft.rfftn(grid) * np.exp(np.clip(-0.25 * b_group * q2, -30, 3))
    return total, occupancy


def _solvent(rng, molecule, n, q2) -> np.ndarray:
    """Bulk solvent that the molecule displaces: a flat density with a soft edge (electrons per Å³)."""
    strength = rng.uniform(0, 0.3)
    return (strength * fft.rfftn(molecule) * np.exp(-0.25 * rng.uniform(60, 300) * q2)).astype(np.complex64)


def _deposit(rng, spectrum, molecule, n, d, q2, held) -> np.ndarray:
    """Noise, FSC weighting, low-pass and the voxel's limit; back to real space, (n, n, n) float32."""
    shell, power = radial_power(spectrum, q2, n)
    q = np.arange(n + 1) / n
    # model-map FSC = 1 / sqrt(1 + N/S): it is 0.5 where N/S = 3, which is where the resolution is read
    # by half maps, and so not exactly there
    limit = rng.uniform(0.88, 1.15) / d
    raw_b = rng.uniform(30, 220) * (d / 3.5) ** 2
    noise_to_signal = 3 * np.exp(np.clip(0.5 * raw_b * (q**2 - limit**2), -20, 20))
    # errors of reconstruction and model keep the FSC of real pairs at 0.7 to 0.95 far below the limit
    noise_to_signal += rng.choice([rng.uniform(0.01, 0.15), rng.uniform(0.15, 0.6)], p=[0.6, 0.4]) * np.minimum(1, q * d)
    noise_to_signal *= np.exp(rng.uniform(2, 9) * np.clip(q / limit - 0.9, 0, 1))
    # noise fills the box, but the FSC is read inside the molecule's mask
    # noise does not know the dip that proteins have at 6 Å: it follows the signal's spectrum smoothed
    smooth = np.exp(ndimage.gaussian_filter1d(np.log(power + 1e-9 * power.max()), 0.06 * n))
    noise_power = smooth * noise_to_signal / max(float(molecule.mean()), 0.05)
    beyond = q > 1.15 / d  # past the limit the signal's shells are empty; the noise goes on smoothly
    if beyond.any():
        noise_power[beyond] = noise_power[np.argmax(beyond) - 1] * np.exp(-rng.uniform(0, 40) * (q[beyond] - 1.15 / d))
    noise = rng.standard_normal((n, n, n)).astype(np.float32)
    noise *= np.exp(rng.uniform(0, 0.4) * smooth_field(rng, n, 25))
    amplitude = np.sqrt(noise_power / n**3)
    total = spectrum + fft.rfftn(noise) * amplitude[shell].astype(np.float32)

    if rng.random() < 0.8:  # FSC weighting (Rosenthal & Henderson 2003): sqrt(2F / (1 + F)) is 1 / sqrt(1 + N/S)
        total *= (1 / np.sqrt(1 + noise_to_signal))[shell].astype(np.float32)
    cut, kind = 1 / (d * rng.uniform(0.88, 1.15)), rng.random()
    radius = np.sqrt(q2)
    if kind < 0.45:
        total *= np.clip(0.5 + (cut - radius) / rng.uniform(0.01, 0.06), 0, 1)
    elif kind < 0.65:
        total *= np.exp(-0.5 * (radius / cut) ** 2 * 1.386)
    elif kind < 0.93:
        total *= 1 / (1 + (radius / cut) ** (2 * rng.integers(4, 12)))
    total *= held
    return fft.irfftn(total.astype(np.complex64), s=(n, n, n)).astype(np.float32)


def _mask(rng, xyz, voxel, atoms, molecule, n) -> np.ndarray:
    """The depositor's mask, (n, n, n) float32: none, round the molecule, or a zone round some of its atoms."""
    kind = rng.random()
    if kind < 0.25:
        return np.ones((n, n, n), np.float32)
    if kind < 0.5:
        distance = ndimage.distance_transform_edt(molecule == 0).astype(np.float32)
    else:
        chosen = np.ones(len(xyz), bool)
        numbers = np.unique(atoms.chains)
        if len(numbers) > 1 and rng.random() < 0.8:
            chosen = atoms.chains == rng.choice(numbers)
        elif rng.random() < 0.3:  # a domain: everything on one side of a plane
            along = xyz @ Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()[0]
            chosen = along > np.quantile(along, rng.uniform(0.2, 0.6))
        if chosen.sum() < 100:
            chosen[:] = True
        distance = ndimage.distance_transform_edt(_counts(voxel[chosen], n) == 0).astype(np.float32)
    radius = rng.choice([rng.uniform(1.8, 2.5), rng.uniform(3, 5), rng.uniform(2, 7)])
    edge = rng.choice([0.0, 2.0, 4.0], p=[0.66, 0.17, 0.17])
    if edge == 0:
        return (distance <= radius).astype(np.float32)
    return 0.5 * (1 + np.cos(np.pi * np.clip((distance - radius) / edge, 0, 1))).astype(np.float32)


def _crop(rng, density, mask, voxel_size) -> np.ndarray:
    """Mask, and perhaps cut negatives, on the depositor's grid, then back to 1 Å as for a prediction: hard edges ring."""
    whole = DensityMap(density)
    grid = resample(whole, voxel_size)
    at = np.meshgrid(*(np.arange(k) * voxel_size for k in grid.shape), indexing="ij")
    soft = int(((mask > 0) & (mask < 1)).any())
    array = grid.array * ndimage.map_coordinates(mask, at, order=soft, mode="nearest")
    if rng.random() < 0.45:
        np.maximum(array, 0, out=array)
    return resample_onto(DensityMap(array, grid.origin, grid.step), whole).array.copy()


def stream(rng: np.random.Generator, sets: dict[str, list[Atoms]]) -> Iterator[Pair]:
    """Endless pairs, each set of structures drawn by its share, and now and then nothing but noise."""
    names = [s for s in SET_SHARES if sets.get(s)]
    shares = np.array([SET_SHARES[s] for s in names])
    while True:
        if rng.random() < NOISE_SHARE:
            yield noise(rng)
            continue
        chosen = sets[names[rng.choice(len(names), p=shares / shares.sum())]]
        pair = simulate(rng, chosen[rng.integers(len(chosen))])
        if np.count_nonzero(pair.hr > 0.3) > 1000 and np.isfinite(pair.lr).all():
            yield pair
