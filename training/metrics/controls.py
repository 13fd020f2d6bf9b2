"""Negative controls: what a network makes of maps in which there is nothing to find, or from which something was taken.

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

#: Strengths to which a domain is weakened, as if only so large a share of the particles had it: by the names of their figures.
WEAKENED = {"weak": 0.5, "faint": 0.15}


def matched_level(density: DensityMap, reference: Reference, box: tuple[slice, ...] = (slice(None),)) -> float:
    """Level at which a map's density within 3 Å of the model encloses the molecule's volume.

    `box` is where the reference's grid lies in the map. What lies further from the model does not count: a crop may hold
    neighbours. The volume is two thirds to three quarters of that of these voxels, so the level is a low one, lower than most
    depositors'.
    """
    return level_for_volume(density.array[box][reference.near], reference.atoms.volume, density.step)


def share_above(array: np.ndarray, level: float) -> float:
    """Share of voxels at or above a level."""
    return float((array >= level).mean())


def relative_height(density: DensityMap, atoms: Atoms, domain: np.ndarray, weight: np.ndarray) -> float:
    """Mean density at the atoms of a domain over that at the others, above the solvent (the median).

    Of its atoms those count that lie wholly in it, by its `domain_weight`.
    """
    inside = sample(replace(density, array=weight), atoms.xyz) > 0.95
    heights = sample(density, atoms.xyz) - np.median(density.array)
    return float(heights[domain & inside].mean() / heights[~domain].mean())


def returned(before: DensityMap, after: DensityMap, level: float, region: np.ndarray) -> float:
    """Share of the density above `level` in a region of the enhanced map that is there although its input was deleted."""
    was, now = before.array[region], after.array[region]
    total = float(was[was >= level].sum())
    return float(now[now >= level].sum()) / total if total > 0 else float("nan")


def correlation_at_atoms(density: DensityMap, atoms: Atoms, resolution: float) -> float:
    """Correlation of a map with the high-resolution density of some atoms within 3 Å of them."""
    near = distance_to_atoms(density, atoms.xyz, 3.0) <= 3
    return pearson(density.array[near], hr_density(atoms, density, resolution).array[near])


def controls(density: DensityMap, enhanced: DensityMap, reference: Reference, resolution: float,
             enhance: Enhance, seed: int = 0) -> dict[str, float]:
    """Run the negative controls for one map.

    Parameters
    ----------
    density : the real map on the 1 Å grid.
    enhanced : what `enhance` made of it.
    reference : prepared for it.
    resolution : as reported, Å.
    enhance : the method that is judged.
    seed : of all that is random in the controls.

    Returns
    -------
    dict of shares of the box above the matched level, and the same of the control itself at the level matched on the real map
    under the name with `_input`: noise (a box of noise alone), phases, solvent (the noise round the molecule, at the level of
    that map), noise_unexplained (a box of noise as strong as all that the model does not explain). Then deleted (share of a
    deleted domain that comes back), weak and faint (relative height of a domain that was weakened to 0.5 and 0.15, over that
    of the same domain as it was), ligand (correlation of the model's ligands, or else of a planted glycan, over that in the
    input), planted (1 if it was planted), and level, the matched one in network units: 0 is the solvent, 1 the molecule's 95th
    percentile.
    """
    level, level_input = matched_level(enhanced, reference), matched_level(density, reference)
    maps = ControlMaps.make(density, reference, resolution, seed)
    unmasked = enhance(maps.unmasked)
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
        "solvent": share_above(unmasked.array[maps.solvent], matched_level(unmasked, reference, INNER)),
        "solvent_input": share_above(maps.unmasked.array[maps.solvent], level_input),
        "noise_unexplained": share_above(enhance(maps.strong).array, level),
        "noise_unexplained_input": share_above(maps.strong.array, level_input),
        "phases": share_above(enhance(maps.phases).array, level),
        "phases_input": share_above(maps.phases.array, level_input),
        "deleted": returned(enhanced, enhance(maps.emptied), level, maps.region),
        "ligand": float(np.divide(kept, had)),
    }
