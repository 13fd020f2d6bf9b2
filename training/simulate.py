"""Simulated pairs: from an atomic structure, a map as it might be deposited (LR), and its HR density.

The steps, in order (`training.degrade`): atoms displaced from their places in the model, with strengths and B-factors that
vary along the chain and smoothly in space; bulk solvent, sometimes detergent; an overall fall-off, sometimes stronger in one
direction; noise with three times the signal's power where the model-map FSC is 0.5, near the stated resolution; FSC weighting,
low-pass filters and the voxel's cubic Nyquist limit; masks of several kinds and clipping, since most deposited crops have
them. All arrays are on a 1 Å grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation
from superem.core.normalise import robust

from . import degrade
from .degrade import frequencies, smooth_field
from .density import SIGMA_PER_RESOLUTION, gaussian_density
from .structures import Scatterers

#: The network's target: every atom is a Gaussian at this resolution (Å). A blunter HR is this one, blurred.
TARGET_RESOLUTION = 1.8
#: HR density (electrons per Å³) that is 1 in network units: about the 95th percentile inside a protein.
TARGET_UNIT = 1.9
#: Relative frequency with which each set of structures is drawn, if it is present.
SET_SHARES = {"PDownB": 0.42, "BM5": 0.33, "ProtDNA": 0.07, "IOMemP": 0.14, "aptamer": 0.04}
#: Share of pairs that hold no molecule.
NOISE_SHARE = 0.1
#: Share of these that have the spectrum of a molecule's map, with random phases.
PHASELESS_SHARE = 0.4
#: Shares of the other pairs that have a neighbour, a ligand, detergent, and anisotropic resolution.
NEIGHBOUR_SHARE, LIGAND_SHARE, BELT_SHARE, DIRECTIONAL_SHARE = 0.15, 0.15, 0.08, 0.2
#: Range of the voxel sizes of deposited maps, Å, as far as their resolution allows.
VOXELS = (0.6, 1.8)
#: Range of the fraction of the raw map's fall-off that remains after sharpening; negative if it was over-sharpened.
SHARPENED = (-0.1, 1.0)
#: Share of pairs with a molecule in a large box without a mask.
SOLVENT_SHARE = 0.08


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
        (n, n, n) uint8, 255 where HR is known to be right; None if it is right everywhere.
    resolution
        Resolution of LR, Å.
    """

    lr: np.ndarray
    hr: np.ndarray
    trusted: np.ndarray | None
    resolution: float


def target_density(coordinates: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """Return the HR density in network units at the target resolution, (n, n, n) float32, of atoms at (m, 3) xyz voxels."""
    sigma = TARGET_RESOLUTION * SIGMA_PER_RESOLUTION
    return gaussian_density(coordinates, weights, (n, n, n), sigma) / np.float32(TARGET_UNIT)


def simulate(rng: np.random.Generator, atoms: Scatterers, largest: int = 80) -> Pair:
    """Draw one pair from a structure: a random orientation, and a random part if it is larger than the box."""
    atoms = replace(atoms, coordinates=_random_turn(rng).apply(atoms.coordinates))
    low, high = atoms.coordinates.min(0), atoms.coordinates.max(0)
    extent = float((high - low).max())
    if rng.random() < NEIGHBOUR_SHARE:
        atoms = _with_neighbour(rng, atoms)
    if rng.random() < LIGAND_SHARE:
        atoms = _with_ligand(rng, atoms)
    n = int(np.clip(8 * round((extent + rng.uniform(8, 24)) / 8), 56, largest))
    xyz, shift = atoms.coordinates, rng.uniform(-3, 3, 3)
    middle = xyz[rng.integers(len(xyz))] if extent > n else (low + high) / 2
    roomy = rng.random() < SOLVENT_SHARE
    if roomy:
        n = largest
        shift = _random_turn(rng).as_matrix()[0] * rng.uniform(0, 0.3 * n + max(0.0, extent - n) / 2)
    xyz = (xyz - middle + n / 2 + shift).astype(np.float32)
    inside = np.all((xyz > -6) & (xyz < n + 6), axis=1)
    if inside.sum() < 50:
        return noise(rng)
    xyz, atoms = xyz[inside], atoms[inside]

    d = _resolution(rng)
    q2, q_max = frequencies(n)
    flexibility = rng.random() ** 2  # 0: rigid and well modelled, as viruses may be; 1: flexible. All errors grow with it
    moved = degrade.misplace(rng, xyz, atoms.side, n, d, flexibility)
    # the signal of the raw reconstruction falls off with B-factor raw_b, the noise hardly at all; sharpening leaves a part of
    # the fall-off, and amplifies the noise by the rest
    raw_b, remaining_falloff = d * d * rng.uniform(8, 18), rng.uniform(*SHARPENED)
    spectrum, absent = degrade.signal(rng, moved, atoms, n, d, flexibility, raw_b * remaining_falloff, q2)
    voxel = np.clip(np.rint(xyz[:, ::-1]).astype(int), 0, n - 1)
    cloud = ndimage.gaussian_filter(degrade.counts(voxel[~absent], n), 2.5)
    molecule = (cloud > 0.4 * np.median(cloud[cloud > cloud.max() * 0.2])).astype(np.float32)
    spectrum = spectrum - degrade.solvent(rng, molecule, raw_b * remaining_falloff, q2)
    detergent = degrade.belt(rng, molecule) if rng.random() < BELT_SHARE else None
    if detergent is not None:
        spectrum = spectrum + fft.rfftn(detergent)
    if rng.random() < DIRECTIONAL_SHARE:
        spectrum = spectrum * degrade.directional(rng, n, d)
    voxel_size = rng.uniform(VOXELS[0], min(VOXELS[1], d / 2.3))
    density = degrade.deposit(rng, spectrum, molecule, d, raw_b, remaining_falloff, q2, q_max <= 1 / (2 * voxel_size))
    mask, tight = (np.ones((n, n, n), np.float32), False) if roomy else degrade.mask(rng, xyz, voxel, atoms, molecule)
    density = degrade.mask_and_resample(rng, density, mask, tight, voxel_size)
    if rng.random() < 0.12:  # clipped at a threshold, as if only density above a contour were kept
        level = np.percentile(density[molecule > 0], rng.uniform(10, 45))
        density = np.where(density > max(level, 0), density, 0)

    kept = (mask[tuple(voxel.T)] > 0.5) & ~absent
    hr = target_density(xyz[kept], atoms.weights[kept], n)
    if detergent is not None:  # the network should neither sharpen detergent nor remove it
        hr += detergent * mask / np.float32(TARGET_UNIT)
    lr = robust(density).apply(density) * rng.uniform(0.8, 1.25)
    return Pair(lr.astype(np.float16), hr.astype(np.float16), None, d)


def noise(rng: np.random.Generator, like: Pair | None = None) -> Pair:
    """Draw a pair without a molecule: noise with a map's spectrum, with or without a mask, and an empty HR.

    Normalisation scales the noise until it looks as strong as a molecule; the network must still recognise it as noise. The
    spectrum is random, or that of the pair `like`.
    """
    n, d = (64, _resolution(rng)) if like is None else (len(like.lr), like.resolution)
    white = fft.rfftn(rng.standard_normal((n, n, n), np.float32))
    if like is None:
        square = frequencies(n)[0] * d**2
        amplitude = np.exp(-rng.uniform(-1, 4) * square - 0.5 * (square * rng.uniform(0.4, 1.2)) ** int(rng.choice([2, 4, 8])))
    else:
        amplitude = np.abs(fft.rfftn(like.lr.astype(np.float32))) / (np.abs(white) + 1e-6)
        amplitude[0, 0, 0] = 0
    field = fft.irfftn(white * amplitude, s=(n, n, n)).astype(np.float32)
    kind = rng.random()
    if kind < 0.35:  # kept in random patches
        place = smooth_field(rng, n, rng.uniform(8, 30))
        field *= np.clip((place - rng.uniform(-0.5, 1)) / rng.uniform(0.02, 0.5), 0, 1)
    elif kind < 0.65:  # kept in a sphere, as reconstructions are masked
        at = np.arange(n, dtype=np.float32) - n / 2
        z, y, x = at + rng.uniform(-0.4, 0.4, (3, 1)).astype(np.float32) * n
        radius = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
        field *= np.clip((rng.uniform(0.25, 0.9) * n - radius) / rng.uniform(0.1, 6), 0, 1)
    if rng.random() < 0.3:
        np.maximum(field, 0, out=field)
    lr = robust(field).apply(field) * rng.uniform(0.5, 1.25)
    return Pair(lr.astype(np.float16), np.zeros((n, n, n), np.float16), None, d)


def _resolution(rng: np.random.Generator) -> float:
    return float(2.6 + 3.4 * rng.beta(1.2, 1.8))


def _random_turn(rng: np.random.Generator) -> Rotation:
    return Rotation.random(random_state=int(rng.integers(2**31)))


def _with_neighbour(rng: np.random.Generator, atoms: Scatterers) -> Scatterers:
    """Add a rotated copy of the molecule that touches it, with chains of its own: another subunit."""
    u = _random_turn(rng).as_matrix()[0]
    copy = _random_turn(rng).apply(atoms.coordinates)
    copy += u * ((atoms.coordinates @ u).max() - (copy @ u).min() + rng.uniform(1, 4))
    chains = atoms.chains + atoms.chains.max() + 1
    return _joined(atoms, replace(atoms, coordinates=copy, chains=chains))


def _with_ligand(rng: np.random.Generator, atoms: Scatterers) -> Scatterers:
    """Add a compact or branched string of 8 to 40 atoms at the molecule's surface: a ligand, a lipid, a glycan."""
    middle = atoms.coordinates.mean(0)
    u = _random_turn(rng).as_matrix()[0]
    start = atoms.coordinates[np.argmax((atoms.coordinates - middle) @ u)] + 3.5 * u
    count = int(rng.integers(8, 41))
    drift = rng.uniform(0, 1) * u
    places = np.zeros((count, 3))
    for i in range(1, count):
        parent = max(0, i - int(rng.integers(1, 4)))
        bonds = rng.standard_normal((8, 3)) + drift
        tried = places[parent] + 1.5 * bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
        others = np.delete(places[:i], parent, axis=0)
        room = np.linalg.norm(tried[:, None] - others, axis=2).min(axis=1, initial=9.0)
        places[i] = tried[np.argmax(room)]
    weights = rng.choice([6.0, 7.0, 8.0, 15.0], count, p=[0.62, 0.08, 0.27, 0.03])
    b = np.full(count, np.percentile(atoms.b_factors, rng.uniform(30, 95)))
    chain, side = np.full(count, atoms.chains[0]), np.zeros(count, np.uint8)
    return _joined(atoms, Scatterers(places + start, weights.astype(np.float32), b.astype(np.float32), chain, side))


def _joined(one: Scatterers, other: Scatterers) -> Scatterers:
    return Scatterers(*(np.concatenate([getattr(one, f), getattr(other, f)]) for f in one.__dataclass_fields__))


def stream(rng: np.random.Generator, sets: dict[str, list[Scatterers]]) -> Iterator[Pair]:
    """Yield pairs without end, drawing each set of structures by its share, and sometimes noise alone.

    Raises
    ------
    SystemExit
        If there are no structures, or there is a set whose share is not known.
    """
    if not sets or not sets.keys() <= SET_SHARES.keys():
        raise SystemExit(f"Structures belong to one of the sets {', '.join(SET_SHARES)}, which says how often they are drawn;"
                         f" those listed are of {', '.join(sets) or 'none'}.")
    names = [s for s in SET_SHARES if sets.get(s)]
    shares = np.array([SET_SHARES[s] for s in names])
    while True:
        empty = rng.random() < NOISE_SHARE
        if empty and rng.random() > PHASELESS_SHARE:
            yield noise(rng)
            continue
        chosen = sets[names[rng.choice(len(names), p=shares / shares.sum())]]
        pair = simulate(rng, chosen[rng.integers(len(chosen))])
        if empty:
            yield noise(rng, pair)
        elif np.count_nonzero(pair.hr > 0.3) > 1000 and np.isfinite(pair.lr).all():
            yield pair
