"""Densities computed from a model: the network's target, and the map that an electron microscope would see."""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.fft import rfftn
from superem.core.density import DensityMap

from ..density import SIGMA_PER_RESOLUTION, gaussian_density, hr_resolution
from .atoms import Atoms, to_gemmi
from .grid import spatial_frequency

#: Å², added to all B-factors while atoms are put on the grid, and removed afterwards, so that a 1 Å grid suffices.
BLUR = 80.0


def hr_density(atoms: Atoms, like: DensityMap, resolution: float) -> DensityMap:
    """Return the high-resolution density that the paper pairs with a map of `resolution` Å, on the grid of `like`."""
    sigma = hr_resolution(resolution) * SIGMA_PER_RESOLUTION
    electrons = atoms.occupancy * [gemmi.Element(e).atomic_number for e in atoms.element]
    array = gaussian_density(atoms.xyz, electrons, like.shape, sigma, like.origin, like.step)
    return DensityMap(array, like.origin, like.step, name="HR")


def model_coefficients(atoms: Atoms, like: DensityMap) -> np.ndarray:
    """Return Fourier coefficients (rfftn layout) of the model's electrostatic potential in the box of `like`.

    As in cctbx, they use electron form factors and the model's B-factors, in a P1 cell as large as the box. They are complete
    to the grid's Nyquist frequency, and zero beyond.
    """
    shape = like.array.shape
    structure = to_gemmi(atoms, like)
    calculator = gemmi.DensityCalculatorE()
    calculator.blur = BLUR
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.grid.set_size(*shape[::-1])  # after the cell, since the spacing follows from both
    calculator.add_model_density_to_grid(structure[0])
    array = np.ascontiguousarray(np.asarray(calculator.grid).transpose(2, 1, 0))
    s = spatial_frequency(shape, tuple(like.step))
    coefficients = rfftn(array) * np.exp(BLUR / 4 * s**2)
    coefficients[s > 0.5 / max(like.step)] = 0
    return coefficients
