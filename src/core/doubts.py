"""Warnings for the user: reasons to doubt a result, as far as its map and the resolution show them."""

from __future__ import annotations

import numpy as np

from .density import DensityMap, sampled

SPIKES = 100  # voxels; this few with the same value may be detector defects
INVERTED = -0.5  # skewness of the values: 1.3 to 7.8 for 28 deposited maps, near 0 for noise
TOO_FINE = 1.2  # factor by which the given resolution may be finer than the agreement of input and prediction, without a note
FINEST_HELPED = 2.8  # Å; where input and prediction agree to finer than this, the Q-score falls (docs/experiments.md)
COARSEST_HELPED = 6.0  # Å; coarsest resolution at which a network helps: maps of 6.6 and 7.9 Å got worse


def looks_like_mask(density: DensityMap) -> bool:
    """Return whether a map is probably a mask, hard or soft-edged: most of its high voxels have one value, unlike density."""
    array = density.array
    low, high = float(array.min()), float(array.max())
    inside = np.count_nonzero(array > (low + high) / 2)
    return np.count_nonzero(array == high) > max(SPIKES, inside / 2)


def looks_inverted(density: DensityMap) -> bool:
    """Return whether a map's contrast is probably inverted: its few extreme values, the molecule's, are the lowest."""
    away = sampled(density.array).astype(float)
    away -= away.mean()
    return bool(np.mean(away**3) < INVERTED * np.mean(away**2) ** 1.5)


def remarks(given: float | None, agreed: float | None) -> list[str]:
    """Return notes on a result, from the resolution given by the user and that down to which input and result agree (both Å)."""
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
    """Return why a result is not to be trusted, in one sentence; None if there is no reason.

    Parameters
    ----------
    density
        The input map.
    found
        Resolution (Å) that decided the sharpness of the result; None if the model does not use it.
    given
        Resolution (Å) given by the user, if any.
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
