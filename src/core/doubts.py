"""Why a result is not to be trusted, as far as its map and the resolution show it: what the user is told."""

from __future__ import annotations

import numpy as np

from .density import DensityMap, sampled

SPIKES = 100  # voxels; so few that are alike may be a detector's defects
INVERTED = -0.5  # skewness of the values: 1.3 to 7.8 on 28 deposited maps, near 0 of noise
TOO_FINE = 1.2  # times as fine as what input and prediction agree on may a resolution be that is given, without a word
FINEST_HELPED = 2.8  # Å, on which input and prediction agree: of finer maps Q-score falls (docs/experiments.md)
COARSEST_HELPED = 6.0  # Å, of a map that a network can help: two of 6.6 and 7.9 Å got worse


def looks_like_mask(density: DensityMap) -> bool:
    """Whether a map is likely a mask, hard or with a soft edge: most of what is high in it has one value, as no density has."""
    array = density.array
    low, high = float(array.min()), float(array.max())
    inside = np.count_nonzero(array > (low + high) / 2)
    return np.count_nonzero(array == high) > max(SPIKES, inside / 2)


def looks_inverted(density: DensityMap) -> bool:
    """Whether a map likely has its contrast inverted: its few extreme values, which are the molecule's, lie below the others."""
    away = sampled(density.array).astype(float)
    away -= away.mean()
    return bool(np.mean(away**3) < INVERTED * np.mean(away**2) ** 1.5)


def remarks(given: float | None, agreed: float | None) -> list[str]:
    """What to know of a result beside its map, by the resolution that was given and that on which both agree (both Å)."""
    if agreed is None:
        return []
    said = []
    if agreed < FINEST_HELPED:
        said.append(f"Input and result agree down to {agreed:.2g} Å: a map so fine, or so free of noise, seldom gains, and its "
                    "result may be less sharp. Prefer the original.")
    if given is not None and agreed > TOO_FINE * given:
        said.append(f"Input and result agree only down to {agreed:.2g} Å, not to the {given:g} Å that were given: finer detail "
                    "may be invented.")
    return said


def reason_to_doubt(density: DensityMap, found: float | None, given: float | None) -> str | None:
    """Why a result is not to be trusted, in one sentence; None if it may be.

    By its map, by the resolution that was found or given, or by the finest that its voxels can hold (all Å).
    """
    if looks_like_mask(density):
        return f"{density.name} looks like a mask, not like density: most of its high voxels have the same value."
    if looks_inverted(density):
        return (f"{density.name} looks inverted in contrast: its most extreme values are its lowest; if it is inverted, "
                "multiply it by -1 first.")
    if found is None or found <= COARSEST_HELPED:
        return None
    reason = (f"A map of {found:g} Å" if given else
              f"A map with voxels of {max(density.step):.3g} Å, which hold nothing finer than {density.finest:.3g} Å,"
              if found <= density.finest else
              "This map, with which the result hardly agrees,")
    return (f"{reason} is coarser than the 3 to {COARSEST_HELPED:g} Å that the network was made for, or contains no molecule "
            "that the network knows: the result is not to be trusted.")
