"""Steps that turn an atomic structure into a map as it might be deposited; `training.simulate` combines them.

Their ranges were tuned until simulated maps agreed with deposited maps of the train split, as measured by `training.realism`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation
from superem.core.density import DensityMap
from superem.core.resample import resample, resample_onto

from .density import gaussian_density
from .structures import Scatterers

#: B-factor (Å²) with which atoms are first put on the grid: the smallest whose Gaussian a 1 Å grid samples well.
SPREAD_B = 30.0
#: Share of masked maps that are stored as a list of positive voxels and gridded again, as three of fifteen train maps were.
LIST_SHARE = 0.12
#: Electrons of C, N, O, P, S, and their electron scattering factors at 4 Å per electron, relative to C (Peng et al. 1996).
ELECTRONS = (6.0, 7.0, 8.0, 15.0, 16.0)
SCATTERING = (1.0, 0.80, 0.655, 0.816, 0.762)


def frequencies(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared length (1/Å²) and the largest component (1/Å) of each frequency of an rfftn of (n, n, n) at 1 Å."""
    full, half = np.abs(fft.fftfreq(n)).astype(np.float32), fft.rfftfreq(n).astype(np.float32)
    z, y, x = full[:, None, None], full[None, :, None], half[None, None, :]
    return z * z + y * y + x * x, np.maximum(np.maximum(z, y), x)


def radial_power(spectrum: np.ndarray, q2: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shell (0...n) of each frequency of an rfftn of (n, n, n), and the mean squared amplitude of each shell."""
    shell = np.minimum(np.rint(np.sqrt(q2) * n).astype(int), n)
    power = spectrum.real**2 + spectrum.imag**2
    sums = np.bincount(shell.ravel(), power.ravel(), minlength=n + 1)
    return shell, sums / np.maximum(np.bincount(shell.ravel(), minlength=n + 1), 1)


def smooth_field(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """Return a random field, (n, n, n) float32, of mean 0 and standard deviation 1, correlated over `length` Å."""
    coarse = int(np.ceil(n / length)) + 4
    # a Gaussian around each coarse grid point, one axis at a time
    weights = np.exp(-2 * ((np.arange(n)[:, None] / length) - np.arange(coarse) + 1.5) ** 2).astype(np.float32)
    field = rng.standard_normal((coarse,) * 3).astype(np.float32)
    for _ in range(3):
        field = np.tensordot(field, weights, axes=(0, 1))
    return (field - field.mean()) / (field.std() + np.float32(1e-9))


def at_atoms(field: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Return the values of a field (n, n, n) at the voxels of atoms at (m, 3) xyz; beyond the box, those at its nearest face."""
    return field[tuple(np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, len(field) - 1).T)]


def exposure(xyz: np.ndarray, n: int) -> np.ndarray:
    """Return how exposed each atom at (m, 3) xyz is, by rank: 0 for the one with most neighbours, 1 for that with fewest."""
    crowd = ndimage.uniform_filter(counts(np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, n - 1), n), 13)
    around = at_atoms(crowd, xyz)
    rank = np.empty(len(xyz), np.float32)
    rank[np.argsort(-around)] = np.linspace(0, 1, len(xyz))
    return rank


def misplace(rng: np.random.Generator, xyz: np.ndarray, side: np.ndarray, n: int, d: float, flexibility: float) -> np.ndarray:
    """Return where the density of atoms lies that a model places at (m, 3) `xyz` (Å): models are never exact.

    A smooth deformation is added, and some side chains are turned about their CA-CB bond. Both grow with `flexibility`, and the
    deformation with the resolution `d` (Å) too.
    """
    moved = xyz.copy()
    first = np.flatnonzero(np.diff(side > 0, prepend=False) & (side > 0))  # CB of each side chain; CA is three atoms before it
    first = first[first >= 3]
    bond = xyz[first] - xyz[first - 3]
    length = np.linalg.norm(bond, axis=1)
    turned = (length > 1.3) & (length < 1.8) & (rng.random(len(first)) < rng.uniform(0, 0.4 * flexibility))
    other_rotamer = rng.random(len(first)) < 0.4
    angle = np.where(other_rotamer, rng.choice([-2.1, 2.1], len(first)), rng.normal(0, 0.5, len(first)))
    owner = np.searchsorted(first, np.arange(len(xyz)), side="right") - 1
    atoms = np.flatnonzero((side > 0) & (owner >= 0))
    atoms = atoms[turned[owner[atoms]]]
    if len(atoms):
        which = owner[atoms]
        pivot = xyz[first[which]]
        turn = Rotation.from_rotvec(bond[which] * (angle / length)[which, None])
        moved[atoms] = pivot + turn.apply(xyz[atoms] - pivot)
    size = min(0.6, (0.05 + 0.15 * flexibility) * d / 3.5 * np.exp(rng.normal(0, 0.6)))
    reach = rng.uniform(8, 25)
    shift = np.stack([at_atoms(smooth_field(rng, n, reach), xyz) for _ in range(3)], axis=1)
    return moved + np.float32(size) * (shift - shift.mean(0))


def signal(
    rng: np.random.Generator, xyz: np.ndarray, atoms: Scatterers, n: int, d: float, flexibility: float, overall_b: float,
    q2: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Fourier transform (rfftn of (n, n, n)) of atoms at (m, 3) xyz, and which atoms are absent, (m,) bool.

    Every atom has a strength and a B-factor of its own. They vary together from place to place: where a deposited map is weak at
    low frequencies, it is weak at high frequencies too. `flexibility` (0 to 1) sets how much they vary: the errors of one map are
    all large or all small.
    """
    b = atoms.b_factors
    spread = np.percentile(b, 75) - np.percentile(b, 25) + 5
    relative = np.clip((b - np.median(b)) / spread, -1.5, 4)
    place = at_atoms(smooth_field(rng, n, rng.uniform(10, 30)), xyz)
    other = at_atoms(smooth_field(rng, n, rng.uniform(10, 30)), xyz)
    exposed = exposure(xyz, n)
    # flexible parts are weaker and more blurred than their B-factors suggest, the more so in flexible molecules
    unit = (d / 3.5) ** 2
    delta = rng.uniform(3, 30) * relative + rng.uniform(3, 10 + 35 * flexibility) * (0.8 * place + 0.6 * other)
    delta = unit * (delta + rng.uniform(0, 30) * (atoms.side > 0) + rng.uniform(0, 60) * (exposed - 0.5))
    delta = np.clip(delta - np.median(delta), -60 * unit, 200 * unit)

    weak = min(0.6, (0.04 + 0.18 * flexibility) * np.exp(rng.normal(0, 0.6)))
    strength = np.exp(-weak * (place + rng.uniform(0, 0.5) * relative)).clip(0.1, 2).astype(np.float32)
    # strengths in train maps at 8 to 5.6 Å, relative to the buried main chain (`python -m training.agreement`): exposed main
    # chain 0.53 to 1.04, median 0.79; buried side chains 0.48 to 1.01, median 0.81; exposed side chains 0.21 to 0.76, median
    # 0.47. In membranes even buried side chains are weak, since their surroundings are as dense as they are
    strength *= 1 - rng.uniform(0, 0.7) * flexibility * exposed
    strength[atoms.side > 0] *= rng.uniform(0.4, 1.05) * (1 - rng.uniform(0.1, 0.5) * exposed[atoms.side > 0])
    strength[atoms.side == 2] *= rng.uniform(-0.1, 0.8)  # radiation damage; negative charges scatter electrons less
    lost = (atoms.side > 0) & (relative > 1.2) & (rng.random(len(xyz)) < rng.uniform(0, 0.6))
    strength[lost] *= 0.3
    # stretches that are too mobile to be seen are missing from both the map and the target
    absent = np.zeros(len(xyz), bool)
    if rng.random() < 0.25:
        gone = at_atoms(smooth_field(rng, n, 20), xyz) > 1.6
        if gone.mean() < 0.5:
            absent, strength[gone] = gone, 0
    weights = atoms.weights * np.interp(atoms.weights, ELECTRONS, SCATTERING) * strength

    sigma = np.sqrt(SPREAD_B / (8 * np.pi**2))
    edges = np.unique(np.quantile(delta, np.linspace(0, 1, 7)))
    group = np.clip(np.searchsorted(edges, delta, side="right") - 1, 0, max(len(edges) - 2, 0))
    total = np.zeros(q2.shape, np.complex64)
    for g in np.unique(group):
        chosen = group == g
        grid = gaussian_density(xyz[chosen], weights[chosen], (n, n, n), sigma, cutoff=3.2)
        b_group = overall_b + float(np.mean(delta[chosen])) - SPREAD_B
        total += fft.rfftn(grid) * np.exp(np.clip(-0.25 * b_group * q2, -30, 3))
    return total, absent


def solvent(rng: np.random.Generator, molecule: np.ndarray, overall_b: float, q2: np.ndarray) -> np.ndarray:
    """Return the transform of the bulk solvent that a molecule (n, n, n) displaces: flat, and blurred at least as much as atoms.

    Its strength is in electrons per Å³; fits to train maps usually give 0.05 to 0.2 (`python -m training.agreement`).
    """
    strength, b = rng.uniform(0, 0.2), overall_b + rng.uniform(0, 60)
    return (strength * fft.rfftn(molecule) * np.exp(-0.25 * b * q2)).astype(np.complex64)


def belt(rng: np.random.Generator, molecule: np.ndarray) -> np.ndarray:
    """Return a detergent belt around a molecule (n, n, n): a featureless slab, denser towards its two faces, electrons per Å³."""
    n = len(molecule)
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) - n / 2] * 3, indexing="ij", sparse=False))
    along = np.tensordot(Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()[0], grid, axes=1)
    height = rng.uniform(8, 18)
    distance = ndimage.distance_transform_edt(molecule == 0)
    reach = rng.uniform(5, 18) + 3 * smooth_field(rng, n, 12)
    inside = (distance > 2) & (distance < reach) & (np.abs(along) < height)
    density = inside * (rng.uniform(0.05, 0.25) + rng.uniform(0, 0.2) * (np.abs(along) > height - 5))
    return ndimage.gaussian_filter(density.astype(np.float32), rng.uniform(1.2, 2.5))


def directional(rng: np.random.Generator, n: int, d: float) -> np.ndarray:
    """Return weights for frequencies of an rfftn of (n, n, n): weaker along one direction, or a soft missing cone about it."""
    u = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()[0].astype(np.float32)
    full, half = fft.fftfreq(n).astype(np.float32), fft.rfftfreq(n).astype(np.float32)
    along = (u[0] * full[:, None, None] + u[1] * full[None, :, None] + u[2] * half[None, None, :]) ** 2
    if rng.random() < 0.7:
        return np.exp(-rng.uniform(0.2, 1.5) * d * d * along)
    cosine2, edge = along / (frequencies(n)[0] + 1e-9), float(np.cos(rng.uniform(0.4, 0.9)) ** 2)
    return 1 - rng.uniform(0.6, 1) * np.clip((cosine2 - edge) / 0.1, 0, 1)


def deposit(
    rng: np.random.Generator,
    spectrum: np.ndarray,
    molecule: np.ndarray,
    d: float,
    raw_b: float,
    remaining_falloff: float,
    q2: np.ndarray,
    nyquist_mask: np.ndarray,
) -> np.ndarray:
    """Add noise, FSC weighting, low-pass filters and the voxel's Nyquist limit; return real-space density, (n, n, n) float32.

    The raw map's B-factor `raw_b` (Å²) sets how fast noise overtakes the signal; `spectrum` still holds the fraction
    `remaining_falloff` of that fall-off after sharpening. `nyquist_mask` marks the frequencies up to the depositor's
    Nyquist limit.
    """
    n = len(molecule)
    shell, power = radial_power(spectrum, q2, n)
    q = np.arange(n + 1) / n
    # model-map FSC = 1 / sqrt(1 + N/S) is 0.5 where N/S = 3, the point at which half maps give the resolution. In real
    # pairs this holds only roughly, since models are worse than maps
    limit = rng.uniform(0.85, 1.15) / d
    noise_to_signal = 3 * np.exp(np.clip(0.5 * raw_b * (q**2 - limit**2), -20, 20))
    # reconstruction errors keep the FSC of real pairs below 1 even at frequencies far below the limit
    noise_to_signal += rng.choice([rng.uniform(0, 0.1), rng.uniform(0.1, 0.5)], p=[0.8, 0.2]) * np.minimum(1, q * d)
    # noise fills the box, but the FSC is measured inside the molecule's mask. Its spectrum follows the signal's, smoothed,
    # since noise lacks the dip that proteins have at 6 Å
    smooth = np.exp(ndimage.gaussian_filter1d(np.log(power + 1e-9 * power.max()), 0.09 * n))
    noise_power = smooth * noise_to_signal / max(float(molecule.mean()), 0.05)
    beyond = q > 1.15 / d  # no signal to scale by
    if beyond.any():
        noise_power[beyond] = noise_power[np.argmax(beyond) - 1] * np.exp(-rng.uniform(0, 40) * (q[beyond] - 1.15 / d))
    noise = rng.standard_normal((n, n, n), np.float32)
    noise *= np.exp(rng.uniform(0, 0.4) * smooth_field(rng, n, 25))
    amplitude = np.sqrt(noise_power / n**3)
    # near the limit the FSC falls faster than a B-factor predicts: signal is lost, while the noise gets no stronger
    lost = np.exp(rng.uniform(2, 9) * np.clip(q / limit - 0.9, 0, 1))
    noise_to_signal *= lost
    total = spectrum * (1 / np.sqrt(lost))[shell].astype(np.float32) + fft.rfftn(noise) * amplitude[shell].astype(np.float32)
    # FSC weighting (Rosenthal & Henderson 2003): sqrt(2F / (1 + F)) equals 1 / sqrt(1 + N/S). It is seldom complete, least of
    # all in maps that are little sharpened: TRPV1, 7lq6 and CPV have a shelf of noise beyond the limit
    total *= np.maximum(1 / np.sqrt(1 + noise_to_signal), remaining_falloff * rng.uniform(0, 0.5))[shell].astype(np.float32)
    # sharpened maps need a low-pass filter: TMV and EMD-3073 are cut at 1.05 and 1.15 times the limit. Other maps may be uncut,
    # or cut far beyond it: TRPV1 at 1.35 times
    sharpened = remaining_falloff < 0.5
    cut = rng.uniform(0.95, 1.2 if sharpened else 1.45) / d
    kind = rng.choice(["edge", "Gaussian", "Butterworth", "none"], p=[0.6, 0.1, 0.3, 0] if sharpened else [0.3, 0.1, 0.2, 0.4])
    radius = np.sqrt(q2)
    if kind == "edge":
        total *= np.clip(0.5 + (cut - radius) / rng.uniform(0.01, 0.06), 0, 1)
    elif kind == "Gaussian":
        total *= np.exp(-0.5 * (radius / cut) ** 2 * 1.386)
    elif kind == "Butterworth":
        total *= 1 / (1 + (radius / cut) ** (2 * int(rng.integers(4, 12))))
    # masks and filters before refinement, and the contrast transfer function, change low frequencies: below 0.2 of the limit,
    # relative to 0.25 to 0.45 of it, train maps' amplitudes are 0.7 to 1.4 times the model's
    strength, length = np.exp(rng.normal(0, 0.3)), rng.uniform(8, 20)
    total *= (1 + (strength - 1) * np.exp(-((q * length) ** 2)))[shell].astype(np.float32)
    total *= nyquist_mask
    return fft.irfftn(total.astype(np.complex64), s=(n, n, n)).astype(np.float32)


def counts(voxel: np.ndarray, n: int) -> np.ndarray:
    """Return the number of atoms in each voxel, (n, n, n) float32, from their (m, 3) zyx indices."""
    flat = np.ravel_multi_index(tuple(voxel.T), (n, n, n))
    return np.bincount(flat, minlength=n**3).reshape(n, n, n).astype(np.float32)


def mask(
    rng: np.random.Generator, xyz: np.ndarray, voxel: np.ndarray, atoms: Scatterers, molecule: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Draw the depositor's mask, (n, n, n) float32: none, around the molecule, or a zone around some of its atoms.

    Also returns whether it is a tight zone: all train maps cut at 2 Å have lost their negative density as well.
    """
    kind, n = rng.random(), len(molecule)
    if kind < 0.25:
        return np.ones((n, n, n), np.float32), False
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
        distance = ndimage.distance_transform_edt(counts(voxel[chosen], n) == 0).astype(np.float32)
    radius = rng.choice([rng.uniform(1.8, 2.5), rng.uniform(3, 5), rng.uniform(2, 7)], p=[0.4, 0.35, 0.25])
    edge = rng.choice([0.0, 2.0, 4.0], p=[0.8, 0.1, 0.1])
    if edge == 0:
        return (distance <= radius).astype(np.float32), kind >= 0.5 and radius < 2.5
    return 0.5 * (1 + np.cos(np.pi * np.clip((distance - radius) / edge, 0, 1))).astype(np.float32), False


def mask_and_resample(
    rng: np.random.Generator, density: np.ndarray, mask: np.ndarray, tight: bool, voxel_size: float
) -> np.ndarray:
    """Mask the map, and perhaps cut negative density, on the depositor's grid; resample it to 1 Å as for a prediction.

    Hard edges ring when they are resampled. Some maps are first reduced to a random list of positive voxels, and the gaps filled
    by interpolation.
    """
    whole = DensityMap(density)
    grid = resample(whole, voxel_size)
    array = grid.array
    if mask.min() < 1 and rng.random() < LIST_SHARE:
        kept = ((array > 0) & (rng.random(array.shape) < rng.uniform(0.4, 1))).astype(np.float32)
        near = [ndimage.gaussian_filter(x, 0.7) for x in (array * kept, kept)]
        array = np.where(kept > 0, array, near[0] / np.maximum(near[1], 1e-3))
    if mask.min() < 1:
        order = int(((mask > 0) & (mask < 1)).any())
        array = array * ndimage.affine_transform(mask, np.eye(3) * voxel_size, 0, grid.shape, order=order, mode="nearest")
    if rng.random() < (0.9 if tight else 0.5):
        array = np.maximum(array, 0)
    return resample_onto(replace(grid, array=array), whole).array.copy()
