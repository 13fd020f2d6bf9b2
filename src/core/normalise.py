"""Conversion of densities of any scale to the units in which a network was trained, and back.

A network must see the same numbers for the same molecule, whatever scale software, box and sharpening have given the
map. The paper cuts negative values and scales by the extremes, which one outlier voxel spoils. The default, `robust`,
finds the solvent level and the scale of the molecule from ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .density import MapError, sampled

#: A voxel belongs to the molecule if it lies this many standard deviations of the noise above the solvent level.
NOISE_DEVIATIONS = 3.0
#: Standard deviation of Gaussian noise over the median distance from its centre.
PER_MEDIAN = 1.4826
#: With fewer voxels than this above the noise, there is no molecule to rank.
FEWEST = 8
#: This percentile of the molecule's voxels becomes 1 in network units.
MOLECULE_PERCENTILE = 95.0


@dataclass(frozen=True)
class Scale:
    """Conversion between density units and network units: ``(density - low) / (high - low)``.

    If `soft` is true, values beyond -1 and 2 network units grow logarithmically: the conversion stays invertible, but
    an outlier voxel cannot swamp its neighbours. If it is false, values below `low` are cut, as in the paper.
    """

    low: float
    high: float
    soft: bool = True

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Convert density units to network units, float32, any shape."""
        x = (np.asarray(array, np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        if not self.soft:
            return np.maximum(x, 0, out=x)
        above, below = x > 2, x < -1
        x[above] = 2 + np.log1p(x[above] - 2)
        x[below] = -1 - np.log1p(-1 - x[below])
        return x

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Convert network units to density units, float32; the inverse of `apply` wherever nothing was cut."""
        x = np.array(array, np.float32)
        if self.soft:
            above, below = x > 2, x < -1
            x[above] = 2 + np.expm1(x[above] - 2)
            x[below] = -1 - np.expm1(-1 - x[below])
        x *= np.float32(self.high - self.low)
        x += np.float32(self.low)
        return x


def minmax(array: np.ndarray) -> Scale:
    """Return the paper's scale: negative values cut, then minimum to 0 and maximum to 1 (SuperEM paper, Methods).

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
    """Return the scale that takes the solvent level to 0 and the molecule's 95th percentile to 1, from ranks only.

    The solvent level is the mode of the density, the noise is the spread below it, and the molecule is what lies more
    than three standard deviations of the noise above it. None of these depends on the size of the box, a few outlier
    voxels or the tightness of a mask.

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
    if molecule.size < FEWEST:  # no molecule: scale by the noise
        molecule = values[np.searchsorted(values, solvent, side="right") :]
    high = float(np.percentile(molecule, MOLECULE_PERCENTILE)) if molecule.size else float(values[-1])
    if solvent >= high:  # most voxels have the highest value: a mask that nearly fills the box
        solvent, high = float(values[0]), float(values[-1])
    return Scale(solvent, high)


def _mode(values: np.ndarray) -> float:
    """Return the half-sample mode of sorted values: the densest half, of it the densest half, and so on (Bickel 2002)."""
    while values.size > 3:
        half = (values.size + 1) // 2
        widths = values[half - 1 :] - values[: values.size - half + 1]
        start = int(np.argmin(widths))
        values = values[start : start + half]
    return float(np.median(values))


#: Normalisations by the names that model cards use.
NORMALISATIONS: dict[str, Callable[[np.ndarray], Scale]] = {"robust": robust, "minmax": minmax}
