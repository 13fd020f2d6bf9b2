"""Negative controls: what a network makes of maps with nothing to find, or with parts removed or changed.

Density counts where it is above the matched level: the level at which the enhanced real map, within 3 Å of its model,
encloses the molecule's volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from superem.core.density import DensityMap
from superem.core.levels import level_for_volume
from superem.core.normalise import robust

from .atoms import Atoms
from .control_maps import INNER, ControlMaps, domain_weight, end_domain, weakened, with_glycan
from .grid import distance_to_atoms, pearson, sample
from .modelmap import hr_density
from .reference import Reference

Enhance = Callable[[DensityMap], DensityMap]

#: Strengths to which a domain is weakened, as if only that share of the particles had it, by the names of their figures.
WEAKENED = {"weak": 0.5, "faint": 0.15}


def matched_level(density: DensityMap, reference: Reference, box: tuple[slice, ...] = (slice(None),)) -> float:
    """Return the level at which a map's density within 3 Å of the model encloses the molecule's volume.

    `box` is where the reference's grid lies in the map. Density further from the model does not count, since a crop may hold
    neighbours. The molecule fills two thirds to three quarters of these voxels, so the level is lower than most depositors'.
    """
    return level_for_volume(density.array[box][reference.near], reference.atoms.volume, density.step)


def share_above(array: np.ndarray, level: float) -> float:
    """Return the share of voxels at or above a level."""
    return float((array >= level).mean())


def relative_height(density: DensityMap, atoms: Atoms, domain: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean density at a domain's atoms over that at the other atoms, both above the solvent (the median).

    Of the domain's atoms, only those count that lie wholly inside it, by its `domain_weight`.
    """
    inside = sample(replace(density, array=weight), atoms.xyz) > 0.95
    heights = sample(density, atoms.xyz) - np.median(density.array)
    return float(heights[domain & inside].mean() / heights[~domain].mean())


def returned(before: DensityMap, after: DensityMap, level: float, region: np.ndarray) -> float:
    """Return the share of the enhanced map's density above `level` in a region that comes back after its input was deleted."""
    was, now = before.array[region], after.array[region]
    total = float(was[was >= level].sum())
    return float(now[now >= level].sum()) / total if total > 0 else float("nan")


def correlation_at_atoms(density: DensityMap, atoms: Atoms, resolution: float) -> float:
    """Return the correlation of a map with the high-resolution density of some atoms, within 3 Å of them."""
    near = distance_to_atoms(density, atoms.xyz, 3.0) <= 3
    return pearson(density.array[near], hr_density(atoms, density, resolution).array[near])


def controls(density: DensityMap, enhanced: DensityMap, reference: Reference, resolution: float,
             enhance: Enhance, seed: int = 0) -> dict[str, float]:
    """Run the negative controls for one map.

    Parameters
    ----------
    density : the real map on the 1 Å grid.
    enhanced : the result of `enhance` for it.
    reference : prepared for it.
    resolution : as reported, Å.
    enhance : the method to judge.
    seed : seed of everything random in the controls.

    Returns
    -------
    dict of figures. The first four are shares of voxels above the matched level; with the suffix `_input`, they are shares of
    the control itself above the level matched on the real map:

    - noise: a box of noise alone
    - phases: the map with random phases
    - solvent: the noise around the molecule, at the level matched on that map
    - noise_unexplained: a box of noise as strong as all that the model does not explain

    The others are:

    - deleted: share of a deleted domain that comes back
    - weak, faint: relative height of a domain that was weakened to 0.5 and 0.15, over that of the same domain as it was
    - ligand: correlation of the model's ligands, or else of a planted glycan, over that in the input
    - planted: 1 if a glycan was planted
    - level: the matched level in network units (0 is the solvent, 1 the molecule's 95th percentile)
    """
    level, level_input = matched_level(enhanced, reference), matched_level(density, reference)
    maps = ControlMaps.make(density, reference, resolution, seed)
    noisy = enhance(maps.noisy_solvent)
    if reference.atoms.ligand.any():
        host, ligand, after = density, reference.atoms.select(reference.atoms.ligand), enhanced
    else:
        host, ligand = with_glycan(density, reference.atoms, resolution)
        after = enhance(host)
    kept, had = (correlation_at_atoms(d, ligand, resolution) for d in (after, host))
    domain = end_domain(reference.atoms)
    weight, *_ = domain_weight(density, reference.atoms, domain)
    height = partial(relative_height, atoms=reference.atoms, domain=domain, weight=weight)
    heights = {name: height(enhance(weakened(density, weight, share))) / height(enhanced) for name, share in WEAKENED.items()}
    return heights | {"planted": float(host is not density)} | {
        "level": float(robust(density.array).apply(np.array([level]))[0]),
        "noise": share_above(enhance(maps.noise).array, level),
        "noise_input": share_above(maps.noise.array, level_input),
        "solvent": share_above(noisy.array[maps.solvent_voxels], matched_level(noisy, reference, INNER)),
        "solvent_input": share_above(maps.noisy_solvent.array[maps.solvent_voxels], level_input),
        "noise_unexplained": share_above(enhance(maps.unexplained_noise).array, level),
        "noise_unexplained_input": share_above(maps.unexplained_noise.array, level_input),
        "phases": share_above(enhance(maps.phases).array, level),
        "phases_input": share_above(maps.phases.array, level_input),
        "deleted": returned(enhanced, enhance(maps.without_domain), level, maps.domain_voxels),
        "ligand": float(np.divide(kept, had)),
    }
