"""CC_mask and CC_box as Phenix's map_model_cc defines them (Afonine et al., Acta Cryst. D74, 814, 2018).

The model's map is computed from electron form factors and the model's B-factors, cut at the map's resolution. The mask is the
molecule's: van der Waals spheres grown by a probe, then shrunk.
"""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.fft import irfftn
from superem.core.density import DensityMap

from .atoms import Atoms, to_gemmi
from .grid import spatial_frequency

#: Distances in Å by which the molecule's mask is grown and shrunk, as in mmtbx.masks.
PROBE, SHRINK = 1.11, 0.9


def molecule_mask(atoms: Atoms, like: DensityMap) -> np.ndarray:
    """Return the voxels inside the molecule, bool, on the grid of `like`."""
    shape = like.array.shape
    structure = to_gemmi(atoms, like)
    grid = gemmi.FloatGrid()
    grid.set_size(*shape[::-1])
    grid.set_unit_cell(structure.cell)
    grid.spacegroup = gemmi.SpaceGroup("P 1")
    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx)
    masker.rprobe, masker.rshrink = PROBE, SHRINK
    masker.put_mask_on_float_grid(grid, structure[0])
    return np.asarray(grid).transpose(2, 1, 0) == 0


def model_map(coefficients: np.ndarray, like: DensityMap, resolution: float) -> np.ndarray:
    """Return the model's map in the box of `like`, from `model_coefficients` cut at `resolution` Å."""
    s = spatial_frequency(like.array.shape, tuple(like.step))
    kept = np.where(s <= 1 / resolution, coefficients, 0)
    return irfftn(kept, like.array.shape).astype(np.float32)
