"""What lies between an atomic structure and its deposited map: the steps that `training.simulate` puts together.

Ranges were set until simulated maps agreed with deposited ones of the train split in what `training.realism` measures.
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

#: Atoms are first spread with this B-factor (Å²), the smallest whose Gaussian a 1 Å grid holds well.
SPREAD_B = 30.0
#: Share of masked maps that were kept as a list of positive voxels and made a grid again; three of fifteen train maps were.
LIST_SHARE = 0.12
#: Electrons of C, N, O, P, S, and what they scatter of an electron beam at 4 Å per electron, C being 1 (Peng et al. 1996).
ELECTRONS = (6.0, 7.0, 8.0, 15.0, 16.0)
SCATTERING = (1.0, 0.80, 0.655, 0.816, 0.762)


def frequencies(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared length (1/Å²) and largest component (1/Å) of each frequency of an rfftn of (n, n, n) at 1 Å."""
    full, half = np.abs(fft.fftfreq(n)).astype(np.float32), fft.rfftfreq(n).astype(np.float32)
    z, y, x = full[:, None, None], full[None, :, None], half[None, None, :]
    return z * z + y * y + x * x, np.maximum(np.maximum(z, y), x)


def radial_power(spectrum: np.ndarray, q2: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Shell (0...n) of each frequency of an rfftn of (n, n, n), and the mean squared amplitude in each shell."""
    shell = np.minimum(np.rint(np.sqrt(q2) * n).astype(int), n)
    power = spectrum.real**2 + spectrum.imag**2
    sums = np.bincount(shell.ravel(), power.ravel(), minlength=n + 1)
    return shell, sums / np.maximum(np.bincount(shell.ravel(), minlength=n + 1), 1)


def smooth_field(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """Random field (n, n, n) float32 of mean 0, deviation 1, correlated over `length` Å."""
    coarse = int(np.ceil(n / length)) + 4
    # a Gaussian round each coarse point, one axis at a time
    weights = np.exp(-2 * ((np.arange(n)[:, None] / length) - np.arange(coarse) + 1.5) ** 2).astype(np.float32)
    field = rng.standard_normal((coarse,) * 3).astype(np.float32)
    for _ in range(3):
        field = np.tensordot(field, weights, axes=(0, 1))
    return (field - field.mean()) / (field.std() + np.float32(1e-9))


def at_atoms(field: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Values of a field (n, n, n) in the voxels of atoms at (m, 3) xyz; beyond the box those of its face."""
    return field[tuple(np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, len(field) - 1).T)]


def exposure(xyz: np.ndarray, n: int) -> np.ndarray:
    """How little surrounds each atom at (m, 3) xyz: 0 for the most crowded, 1 for the loneliest of them, by rank."""
    crowd = ndimage.uniform_filter(counts(np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, n - 1), n), 13)
    around = at_atoms(crowd, xyz)
    rank = np.empty(len(xyz), np.float32)
    rank[np.argsort(-around)] = np.linspace(0, 1, len(xyz))
    return rank


def misplace(rng: np.random.Generator, xyz: np.ndarray, side: np.ndarray, n: int, d: float, loose: float) -> np.ndarray:
    """Where the density lies of atoms that a model has at (m, 3) `xyz` (Å): no model is exact, nor every side chain placed.

    A smooth deformation, and side chains turned about the bond that they hang on.
    """
    moved = xyz.copy()
    first = np.flatnonzero(np.diff(side > 0, prepend=False) & (side > 0))  # CB of each side chain; CA is three before it
    first = first[first >= 3]
    bond = xyz[first] - xyz[first - 3]
    length = np.linalg.norm(bond, axis=1)
    turned = (length > 1.3) & (length < 1.8) & (rng.random(len(first)) < rng.uniform(0, 0.4 * loose))
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
    size = min(0.6, (0.05 + 0.15 * loose) * d / 3.5 * np.exp(rng.normal(0, 0.6)))
    reach = rng.uniform(8, 25)
    shift = np.stack([at_atoms(smooth_field(rng, n, reach), xyz) for _ in range(3)], axis=1)
    return moved + np.float32(size) * (shift - shift.mean(0))


def signal(
    rng: np.random.Generator, xyz: np.ndarray, atoms: Scatterers, n: int, d: float, loose: float, overall_b: float, q2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transform (rfftn of (n, n, n)) of atoms at (m, 3) xyz, blurred and weak as each is, and which are absent.

    Strength and B-factor vary together from place to place: where a deposited map is weak at low frequency it is so at
    high frequency too. `loose` (0 to 1) says how much: the errors of one map are large together or small together.
    """
    b = atoms.b_factors
    spread = np.percentile(b, 75) - np.percentile(b, 25) + 5
    relative = np.clip((b - np.median(b)) / spread, -1.5, 4)
    place = at_atoms(smooth_field(rng, n, rng.uniform(10, 30)), xyz)
    other = at_atoms(smooth_field(rng, n, rng.uniform(10, 30)), xyz)
    exposed = exposure(xyz, n)
    # a molecule's loose parts are weaker and more blurred than its B-factors say, and those of loose molecules more so
    unit = (d / 3.5) ** 2
    delta = rng.uniform(3, 30) * relative + rng.uniform(3, 10 + 35 * loose) * (0.8 * place + 0.6 * other)
    delta = unit * (delta + rng.uniform(0, 30) * (atoms.side > 0) + rng.uniform(0, 60) * (exposed - 0.5))
    delta = np.clip(delta - np.median(delta), -60 * unit, 200 * unit)

    weak = min(0.6, (0.04 + 0.18 * loose) * np.exp(rng.normal(0, 0.6)))
    strength = np.exp(-weak * (place + rng.uniform(0, 0.5) * relative)).clip(0.1, 2).astype(np.float32)
    # train maps, at 8 to 5.6 Å, against the buried main chain: exposed main chain 0.53 to 1.04, median 0.79; buried side
    # chains 0.48 to 1.01, 0.81; exposed ones 0.21 to 0.76, 0.47 (`python -m training.agreement`). In membranes even buried ones
    # are weak: what surrounds them is as dense as they are
    strength *= 1 - rng.uniform(0, 0.7) * loose * exposed
    strength[atoms.side > 0] *= rng.uniform(0.4, 1.05) * (1 - rng.uniform(0.1, 0.5) * exposed[atoms.side > 0])
    strength[atoms.side == 2] *= rng.uniform(-0.1, 0.8)  # radiation; negative charge scatters less
    lost = (atoms.side > 0) & (relative > 1.2) & (rng.random(len(xyz)) < rng.uniform(0, 0.6))
    strength[lost] *= 0.3
    # whole stretches that moved too much to be seen leave the map and the target alike
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
    """Transform of the bulk solvent that a molecule (n, n, n) displaces: flat, electrons per Å³, and blurred as atoms are.

    Train maps that are fitted by it beside buried and exposed atoms have 0.05 to 0.2 as a rule (`python -m training.agreement`).
    """
    strength, b = rng.uniform(0, 0.2), overall_b + rng.uniform(0, 60)
    return (strength * fft.rfftn(molecule) * np.exp(-0.25 * b * q2)).astype(np.complex64)


def belt(rng: np.random.Generator, molecule: np.ndarray) -> np.ndarray:
    """Detergent round a molecule (n, n, n): a slab without detail, electrons per Å³, denser towards its two faces."""
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
    """Factor for each frequency of an rfftn of (n, n, n): worse along one direction, or a soft missing cone about it."""
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
    left: float,
    q2: np.ndarray,
    held: np.ndarray,
) -> np.ndarray:
    """Noise, FSC weighting, low-pass and the voxel's limit; back to real space, (n, n, n) float32.

    The raw map's B-factor `raw_b` (Å²) sets how soon noise takes over; sharpening has left the part `left` of it in `spectrum`.
    """
    n = len(molecule)
    shell, power = radial_power(spectrum, q2, n)
    q = np.arange(n + 1) / n
    # model-map FSC = 1 / sqrt(1 + N/S): it is 0.5 where N/S = 3, which is where the resolution is read
    # by half maps, and so not exactly there: models are worse than maps
    limit = rng.uniform(0.85, 1.15) / d
    noise_to_signal = 3 * np.exp(np.clip(0.5 * raw_b * (q**2 - limit**2), -20, 20))
    # errors of reconstruction keep the FSC of real pairs below 1 far below the limit
    noise_to_signal += rng.choice([rng.uniform(0, 0.1), rng.uniform(0.1, 0.5)], p=[0.8, 0.2]) * np.minimum(1, q * d)
    # noise fills the box, but the FSC is read inside the molecule's mask
    # noise does not know the dip that proteins have at 6 Å: it follows the signal's spectrum smoothed
    smooth = np.exp(ndimage.gaussian_filter1d(np.log(power + 1e-9 * power.max()), 0.09 * n))
    noise_power = smooth * noise_to_signal / max(float(molecule.mean()), 0.05)
    beyond = q > 1.15 / d  # past the limit the signal's shells are empty; the noise goes on smoothly
    if beyond.any():
        noise_power[beyond] = noise_power[np.argmax(beyond) - 1] * np.exp(-rng.uniform(0, 40) * (q[beyond] - 1.15 / d))
    noise = rng.standard_normal((n, n, n), np.float32)
    noise *= np.exp(rng.uniform(0, 0.4) * smooth_field(rng, n, 25))
    amplitude = np.sqrt(noise_power / n**3)
    # near the limit the FSC falls faster than a B-factor says: signal is lost there, and the noise is no stronger for it
    lost = np.exp(rng.uniform(2, 9) * np.clip(q / limit - 0.9, 0, 1))
    noise_to_signal *= lost
    total = spectrum * (1 / np.sqrt(lost))[shell].astype(np.float32) + fft.rfftn(noise) * amplitude[shell].astype(np.float32)
    # FSC weighting (Rosenthal & Henderson 2003): sqrt(2F / (1 + F)) is 1 / sqrt(1 + N/S). It is seldom complete, least of all in
    # maps that are little sharpened: beyond the limit TRPV1, 7lq6 and CPV go on as a shelf of noise
    total *= np.maximum(1 / np.sqrt(1 + noise_to_signal), left * rng.uniform(0, 0.5))[shell].astype(np.float32)
    # who sharpens has to cut the noise off, as TMV and EMD-3073 are at 1.05 and 1.15 of the limit; others leave the map to fall
    # as it does, or cut it far beyond, as TRPV1 is at 1.35
    sharpened = left < 0.5
    cut = rng.uniform(0.95, 1.2 if sharpened else 1.45) / d
    kind = rng.choice(["edge", "Gaussian", "Butterworth", "none"], p=[0.6, 0.1, 0.3, 0] if sharpened else [0.3, 0.1, 0.2, 0.4])
    radius = np.sqrt(q2)
    if kind == "edge":
        total *= np.clip(0.5 + (cut - radius) / rng.uniform(0.01, 0.06), 0, 1)
    elif kind == "Gaussian":
        total *= np.exp(-0.5 * (radius / cut) ** 2 * 1.386)
    elif kind == "Butterworth":
        total *= 1 / (1 + (radius / cut) ** (2 * int(rng.integers(4, 12))))
    # masks and filters before refinement, and what the microscope transfers, set low frequencies: below 0.2 of the limit
    # train maps' amplitudes, against those at 0.25 to 0.45 of it, are 0.7 to 1.4 times the model's
    strength, length = np.exp(rng.normal(0, 0.3)), rng.uniform(8, 20)
    total *= (1 + (strength - 1) * np.exp(-((q * length) ** 2)))[shell].astype(np.float32)
    total *= held
    return fft.irfftn(total.astype(np.complex64), s=(n, n, n)).astype(np.float32)


def counts(voxel: np.ndarray, n: int) -> np.ndarray:
    """Atoms in each voxel, (n, n, n) float32, of their (m, 3) zyx indices."""
    flat = np.ravel_multi_index(tuple(voxel.T), (n, n, n))
    return np.bincount(flat, minlength=n**3).reshape(n, n, n).astype(np.float32)


def mask(
    rng: np.random.Generator, xyz: np.ndarray, voxel: np.ndarray, atoms: Scatterers, molecule: np.ndarray
) -> tuple[np.ndarray, bool]:
    """The depositor's mask, (n, n, n) float32: none, round the molecule, or a zone round some of its atoms.

    Also whether it is a tight one. All of the train maps cut at 2 Å have lost their negatives as well.
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
    """Mask, and perhaps cut negatives, on the depositor's grid, then back to 1 Å as for a prediction: hard edges ring.

    Some maps come as a list of positive voxels near a model, which was made a grid again by interpolation.
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
