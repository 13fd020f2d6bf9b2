"""Maps for the negative controls, made from real ones: maps with nothing to find, and maps with parts removed or changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfftn, rfftn
from superem.core.density import DensityMap
from superem.core.normalise import PER_MEDIAN

from .atoms import Atoms
from .ccmask import model_map
from .fsc import SHELL, masked_coefficients, shell_correlation, soft_mask
from .grid import distance_to_atoms, spatial_frequency
from .modelmap import model_coefficients
from .qscore import spiral
from .reference import Reference

#: Share of the model's residues that is deleted, at one end of the molecule.
DELETED_SHARE = 0.2
#: Distance from the model beyond which everything is solvent, Å.
SOLVENT = 6.0
#: Width of the margin of noise around maps that stand for unmasked ones, voxels.
MARGIN = 16
INNER = (slice(MARGIN, -MARGIN),) * 3
#: Share of noise in the power at the stated resolution: half maps correlate by 0.143, so the full map has a signal-to-noise
#: ratio of 2 * 0.143 / (1 - 0.143) = 1/3 (Rosenthal and Henderson, J. Mol. Biol. 333, 721, 2003).
NOISE_AT_RESOLUTION = 0.75
#: Strength of a planted glycan relative to the protein, and its B-factor in Å²: glycans are more mobile.
GLYCAN_STRENGTH = 0.7
GLYCAN_B = 60.0


def shaped_noise(density: DensityMap, reference: Reference, rng: np.random.Generator,
                 resolution: float | None = None) -> DensityMap:
    """Return Gaussian noise with the spectrum of a map's own noise, over its whole box, around its solvent level.

    In each shell, the noise is the share 1 - FSC² of the power inside the model's soft mask that the model leaves unexplained.
    This is an upper bound: density is also unexplained where the model or its B-factors are wrong, and where it lacks solvent or
    neighbours. Frequencies below 1/20 Å, where bulk solvent dominates, are left out. If the map's `resolution` (Å) is given, a
    second bound applies. At that frequency half maps correlate by 0.143, so three quarters of the power is noise. Noise is no
    stronger at lower frequencies, since a reconstruction's noise is white and sharpening amplifies high frequencies.
    """
    s = spatial_frequency(density.shape, density.step)
    solvent = float(np.median(density.array))
    inside = masked_coefficients(density.array - solvent, reference.mask)
    frequencies, curve = shell_correlation(inside, reference.coefficients, s, max(density.step))
    shell = np.minimum((s / SHELL).astype(int), len(curve))
    power = np.bincount(shell.ravel(), (np.abs(inside) ** 2).ravel()) / np.maximum(np.bincount(shell.ravel()), 1)
    noise_power = power * np.append(1 - np.clip(curve, 0, 1) ** 2, 0) * np.append(frequencies >= 1 / 20, False)
    if resolution is not None:
        last = min(int(1 / resolution / SHELL), len(curve) - 1)
        noise_power = np.minimum(noise_power, NOISE_AT_RESOLUTION * power[last - 1 : last + 2].mean())
    per_voxel = noise_power / float((reference.mask.astype(np.float64) ** 2).sum())
    noise = irfftn(rfftn(rng.standard_normal(density.shape)) * np.sqrt(per_voxel)[shell], density.shape)
    return replace(density, array=solvent + noise)


def widened(density: DensityMap, voxels: int) -> DensityMap:
    """Return a map in a box that is wider by `voxels` of solvent (the map's median) on every side."""
    return replace(density, array=np.pad(density.array, voxels, constant_values=np.median(density.array)),
                   origin=density.positions(np.full(3, -voxels)))


def noisy_solvent(density: DensityMap, reference: Reference, noise: DensityMap) -> tuple[DensityMap, np.ndarray]:
    """Return a map as if it had not been masked, with noise in its solvent, in a box wider by `MARGIN` voxels on every side.

    The noise fades in between 2 and `SOLVENT` Å from the model.

    Returns
    -------
    map, and a bool array of the voxels that are certainly solvent: in the margin, and `SOLVENT` Å or more from the model. The
    box of a crop may hold parts of neighbours; the margin does not.
    """
    wide = widened(density, MARGIN)
    distance = np.minimum(distance_to_atoms(wide, reference.atoms.xyz, SOLVENT), SOLVENT)
    periodic = np.pad(noise.array, MARGIN, mode="wrap") - float(np.median(noise.array))
    array = wide.array + (1 - soft_mask(distance, 2.0, SOLVENT - 2.0)) * periodic
    margin = np.ones(wide.shape, bool)
    margin[INNER] = False
    return replace(wide, array=array), margin & (distance >= SOLVENT)


def randomised_phases(density: DensityMap, rng: np.random.Generator) -> DensityMap:
    """Return a map with the amplitudes of `density` and the phases of white noise: as strong, but without any structure.

    Its mean is set to the solvent level (the map's median), since the phase of a mean is only a sign.
    """
    phases = rfftn(rng.standard_normal(density.shape))
    array = irfftn(np.abs(rfftn(density.array)) * phases / np.abs(phases), density.shape)
    array += np.median(density.array) - array.mean()
    return replace(density, array=array)


def end_domain(atoms: Atoms) -> np.ndarray:
    """Return a (n,) bool mask of the atoms of the fifth of the residues at one end of the molecule's longest axis."""
    residues, index = np.unique(atoms.residue, return_inverse=True)
    centres = np.stack([np.bincount(index, x) for x in atoms.xyz.T], axis=1) / np.bincount(index)[:, None]
    centred = centres - centres.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    along = centred @ axis
    return (along > np.quantile(along, 1 - DELETED_SHARE))[index]


def domain_weight(density: DensityMap, atoms: Atoms, domain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weight (0 to 1) of a domain in each voxel, and the voxels' distances to the domain and to the other atoms, Å.

    The weight is 1 within 3 Å of the domain's atoms, and falls to 0 over the next 2 Å. It also falls from 1, where the other
    atoms are 2 Å further away than the domain's, to 0, where they are equally near.
    """
    limit = 12.0  # Å; larger than all distances compared
    to_domain = np.minimum(distance_to_atoms(density, atoms.xyz[domain], limit), limit)
    to_rest = np.minimum(distance_to_atoms(density, atoms.xyz[~domain], limit), limit)
    return soft_mask(to_domain, 3.0, 2.0) * soft_mask(to_domain - to_rest, -2.0, 2.0), to_domain, to_rest


def weakened(density: DensityMap, weight: np.ndarray, share: float) -> DensityMap:
    """Return a map in which a domain, by its `domain_weight`, has only `share` of its height above the solvent (the median)."""
    array = density.array - (1 - share) * weight * (density.array - np.median(density.array))
    return replace(density, array=array)


def without_domain(density: DensityMap, atoms: Atoms, gone: np.ndarray,
                   rng: np.random.Generator) -> tuple[DensityMap, np.ndarray]:
    """Replace the density of some atoms by solvent.

    The solvent has the map's amplitudes and random phases. Its median and spread are those of the voxels more than 6 Å from the
    model, so it is zero if these were masked. It replaces the density in proportion to `domain_weight`.

    Returns
    -------
    map, and a bool array of the voxels that are now all solvent and 4 Å or more from any remaining atom.
    """
    weight, to_gone, to_kept = domain_weight(density, atoms, gone)
    values = density.array[np.minimum(to_gone, to_kept) > SOLVENT]
    middle = float(np.median(values)) if values.size else 0.0
    spread = PER_MEDIAN * float(np.median(np.abs(values - middle))) if values.size else 0.0
    noise = randomised_phases(density, rng).array
    solvent = middle + spread * (noise - noise.mean()) / noise.std()
    array = density.array + weight * (solvent - density.array)
    return replace(density, array=array), (weight > 0.99) & (to_kept >= 4)


def glycan() -> np.ndarray:
    """Return three pyranose rings in a row, (30, 3) Å: ideal chairs with equatorial substituents, 1-4 linked by an oxygen."""
    angle = np.radians(60 * np.arange(6))
    pucker = 0.25 * (-1.0) ** np.arange(6)
    ring = np.stack([1.45 * np.cos(angle), 1.45 * np.sin(angle), pucker], axis=1)
    outer = np.stack([2.85 * np.cos(angle), 2.85 * np.sin(angle), pucker * 0.6], axis=1)
    unit = np.concatenate([ring, outer[[0, 1, 2, 4]]])  # 3 is linked to the previous ring, 5 is the ring oxygen
    return np.concatenate([unit + [5.65 * n, 0, 0] for n in range(3)])


def with_glycan(density: DensityMap, atoms: Atoms, resolution: float) -> tuple[DensityMap, Atoms]:
    """Plant a glycan's density on the surface of a molecule, at the map's resolution.

    The glycan points outwards from the outermost atom in a direction: of 64 directions, the one with the least density where the
    glycan will be. The box is widened by 20 voxels of solvent to make room.

    Returns
    -------
    map, and the glycan's atoms.

    Raises
    ------
    ValueError
        If it does not fit in any direction.
    """
    wider = widened(density, 20)
    best: tuple[float, np.ndarray] | None = None
    for direction in spiral(64):
        basis = np.linalg.svd(direction[None])[2]
        basis[0] = direction
        foot = atoms.xyz[(atoms.xyz @ direction).argmax()]
        xyz = foot + 4.5 * direction + glycan() @ basis
        kji = np.round(wider.indices(xyz)).astype(int)[:, ::-1]
        if (kji < 4).any() or (kji >= np.array(wider.shape) - 4).any():
            continue
        occupied = float(np.abs(wider.array[tuple(kji.T)]).mean())
        if best is None or occupied < best[0]:
            best = occupied, xyz
    if best is None:
        raise ValueError(f"No place was found for a glycan on {density.name}.")
    count = len(best[1])
    sugar = Atoms(best[1], np.array(["C"] * count), np.full(count, GLYCAN_B), np.ones(count), np.zeros(count, bool),
                  np.ones(count, bool), np.zeros(count, int))
    shape = model_map(model_coefficients(sugar, wider), wider, resolution)
    near = distance_to_atoms(wider, sugar.xyz, 2.0) <= 2
    protein = distance_to_atoms(wider, atoms.xyz, 2.0) <= 2
    strength = GLYCAN_STRENGTH * np.percentile(wider.array[protein], 95) / np.percentile(shape[near], 95)
    planted = wider.array + strength * shape * soft_mask(distance_to_atoms(wider, sugar.xyz, 6.0), 3.0, 2.0)
    return replace(wider, array=planted), sugar


@dataclass(frozen=True)
class ControlMaps:
    """Maps for the negative controls, made from one real map.

    Attributes
    ----------
    noise : noise alone, as strong as the stated resolution implies.
    unexplained_noise : noise alone, as strong as all density that the model does not explain.
    phases : the map with random phases.
    without_domain, domain_voxels : the map without a domain, and the voxels where it was.
    noisy_solvent, solvent_voxels : the map with noise in its solvent, in a wider box, and the voxels that are solvent.
    """

    noise: DensityMap
    unexplained_noise: DensityMap
    phases: DensityMap
    without_domain: DensityMap
    domain_voxels: np.ndarray
    noisy_solvent: DensityMap
    solvent_voxels: np.ndarray

    @classmethod
    def make(cls, density: DensityMap, reference: Reference, resolution: float, seed: int = 0) -> ControlMaps:
        """Make them from the map that `reference` was prepared for; the same `seed` gives the same maps."""
        rng = np.random.default_rng(seed)
        unexplained, phases = shaped_noise(density, reference, rng), randomised_phases(density, rng)
        emptied, domain_voxels = without_domain(density, reference.atoms, end_domain(reference.atoms), rng)
        noise = shaped_noise(density, reference, rng, resolution)
        return cls(noise, unexplained, phases, emptied, domain_voxels, *noisy_solvent(density, reference, noise))
