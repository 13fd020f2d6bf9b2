"""Bring densities of any scale to the units that a network was trained in, and back.

A network must see the same numbers for the same molecule whatever the map's software, box and sharpening
made of its scale. The paper cuts negatives and scales by the extremes, which one hot voxel ruins; `robust`
is the default: it finds the solvent level and the scale of the molecule from ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .density import MapError, sampled

#: A voxel belongs to the molecule if it stands this many noise deviations above the solvent level.
NOISE_DEVIATIONS = 3.0
#: Standard deviations of Gaussian noise in its median distance from the middle.
PER_MEDIAN = 1.4826
#: With fewer voxels than this above the noise there is no molecule to take ranks of.
FEWEST = 8
#: This percentile of the molecule's voxels becomes 1 in network units.
MOLECULE_PERCENTILE = 95.0


@dataclass(frozen=True)
class Scale:
    """A map between density units and network units: ``(density - low) / (high - low)``.

    Where `soft` is true, values beyond -1 and 2 network units grow logarithmically: the map stays invertible,
    but a hot voxel cannot drown its neighbours. Where it is false, values below `low` are cut, as in the paper.
    """

    low: float
    high: float
    soft: bool = True

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Density units to network units, float32, any shape."""
        x = (np.asarray(array, np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        if not self.soft:
            return np.maximum(x, 0, out=x)
        above, below = x > 2, x < -1
        x[above] = 2 + np.log1p(x[above] - 2)
        x[below] = -1 - np.log1p(-1 - x[below])
        return x

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Network units to density units, float32: the inverse of `apply` wherever nothing was cut."""
        x = np.array(array, np.float32)
        if self.soft:
            above, below = x > 2, x < -1
            x[above] = 2 + np.expm1(x[above] - 2)
            x[below] = -1 - np.expm1(-1 - x[below])
        x *= np.float32(self.high - self.low)
        x += np.float32(self.low)
        return x


def minmax(array: np.ndarray) -> Scale:
    """Negatives cut, then minimum to 0 and maximum to 1 (SuperEM paper, Methods).

    Raises
    ------
    MapError
        If no density is positive, or all of it is the same.
    """
    low, high = max(float(array.min()), 0.0), float(array.max())
    if high <= low:
        raise MapError("The map has no positive density that varies: there is nothing to enhance.")
    return Scale(low, high, soft=False)


def robust(array: np.ndarray) -> Scale:
    """Solvent level to 0 and the molecule's 95th percentile to 1, from ranks only.

    The solvent level is the mode of the density, the noise is the spread below it, and the molecule is what
    stands three such spreads above it. None of these moves with the size of the box, a few hot voxels or the
    tightness of a mask.

    Raises
    ------
    MapError
        If no density is positive, or all of it is the same.
    """
    values = np.sort(sampled(np.asarray(array, np.float32)))
    if values[-1] <= 0 or values[-1] <= values[0]:
        raise MapError("The map has no positive density that varies: there is nothing to enhance.")
    solvent = _mode(values)
    below = solvent - values[: np.searchsorted(values, solvent)]
    noise = PER_MEDIAN * float(np.median(below)) if below.size else 0.0
    molecule = values[np.searchsorted(values, solvent + NOISE_DEVIATIONS * noise, side="right") :]
    if molecule.size < FEWEST:  # scale the noise itself
        molecule = values[np.searchsorted(values, solvent, side="right") :]
    high = float(np.percentile(molecule, MOLECULE_PERCENTILE)) if molecule.size else float(values[-1])
    if solvent >= high:  # most of the box has the highest density there is: a mask that nearly fills it
        solvent, high = float(values[0]), float(values[-1])
    return Scale(solvent, high)


def _mode(values: np.ndarray) -> float:
    """Half-sample mode of sorted values: the densest half, of it the densest half, and so on (Bickel 2002)."""
    while values.size > 3:
        half = (values.size + 1) // 2
        widths = values[half - 1 :] - values[: values.size - half + 1]
        start = int(np.argmin(widths))
        narrowest = values[start : start + half]
        if widths[start] == 0:  # more than half of what is left has one value: a masked or clipped map
            return float(narrowest[0])
        values = narrowest
    return float(np.median(values))


#: The normalisations that a model card can name.
NORMALISATIONS: dict[str, Callable[[np.ndarray], Scale]] = {"robust": robust, "minmax": minmax}
