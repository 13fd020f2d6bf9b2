"""What a map of a model should be, prepared once, and the measurement of maps against it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from superem.core.density import DensityMap, MapError

from .. import density as gaussians
from . import atoms as atoms_module
from . import ccmask, cubes, fsc, grid, modelmap, qscore
from .atoms import Atoms
from .cache import Cache, digest, source
from .ccmask import model_map, molecule_mask
from .cubes import cube_correlations, cube_starts
from .fsc import MASK_EDGE, MASK_RADIUS, masked_coefficients, resolution_at, shell_correlation, soft_mask
from .grid import distance_to_atoms, pearson, spatial_frequency
from .modelmap import hr_density, model_coefficients

#: Distance from the model, Å, up to which voxels count in the real-space correlation with the high-resolution density.
NEAR = 3.0

#: Code that references and measurements depend on, as a part of their cache keys.
SOURCE = source(gaussians, atoms_module, ccmask, cubes, fsc, grid, modelmap, qscore, Path(__file__))


@dataclass(frozen=True)
class Reference:
    """All that depends on the model and the grid, but not on the map; prepared once, in a few seconds, and reused.

    Attributes
    ----------
    atoms : the model's heavy atoms that lie in the box.
    hr : high-resolution density.
    coefficients : rfftn of the model's map, complete to Nyquist.
    expected : the model's map cut at the reported resolution.
    inside : bool, the molecule's mask for CC_mask.
    near : bool, within 3 Å of the model.
    mask : soft mask for the FSC.
    starts : first voxels of the cubes, (n, 3).
    points, valid : where Q-score reads the map.
    """

    atoms: Atoms
    hr: DensityMap
    coefficients: np.ndarray
    expected: np.ndarray
    inside: np.ndarray
    near: np.ndarray
    mask: np.ndarray
    starts: np.ndarray
    points: np.ndarray
    valid: np.ndarray

    @classmethod
    def prepare(cls, atoms: Atoms, like: DensityMap, resolution: float) -> Reference:
        """Prepare the reference of `atoms` on the 1 Å grid of `like`.

        Raises
        ------
        MapError
            If the voxels are not 1 Å, or no atom lies in the box.
        """
        if not np.allclose(like.step, 1.0, atol=1e-3):
            raise MapError(f"Maps are evaluated on a grid of 1 Å; this one has voxels of {like.step[0]:.3f} Å.")
        ijk = like.indices(atoms.xyz)
        in_box = ((ijk > 0) & (ijk < np.array(like.shape[::-1]) - 1)).all(axis=1)
        if not in_box.any():
            raise MapError("The model does not lie on the map: no atom is inside its box.")
        atoms = atoms.select(in_box)
        distance = distance_to_atoms(like, atoms.xyz, MASK_RADIUS + MASK_EDGE)
        coefficients = model_coefficients(atoms, like)
        points, valid = qscore.probes(atoms.xyz)
        return cls(
            atoms=atoms,
            hr=hr_density(atoms, like, resolution),
            coefficients=coefficients,
            expected=model_map(coefficients, like, resolution),
            inside=molecule_mask(atoms, like),
            near=distance <= NEAR,
            mask=soft_mask(distance),
            starts=cube_starts(distance),
            points=points,
            valid=valid,
        )

    @classmethod
    def cached(cls, atoms: Atoms, like: DensityMap, resolution: float, cache: Cache) -> Reference:
        """As `prepare`, but taken from the cache if it is there."""
        key = digest(SOURCE, *atoms.arrays().values(), like.shape, like.origin, like.step, resolution)

        def make() -> dict[str, np.ndarray]:
            new = cls.prepare(atoms, like, resolution)
            plain = {f.name: getattr(new, f.name) for f in fields(cls) if f.name not in ("atoms", "hr")}
            return plain | {"hr": new.hr.array} | {f"atoms.{name}": array for name, array in new.atoms.arrays().items()}

        found = cache.arrays(key, make)
        inside = Atoms(*(found.pop(f"atoms.{f.name}") for f in fields(Atoms)))
        hr = DensityMap(found.pop("hr"), like.origin, like.step, name="HR")
        return cls(atoms=inside, hr=hr, **found)


def evaluate_map(density: DensityMap, reference: Reference, before: dict | None = None) -> dict:
    """Measure a map on the reference's grid, in about a second.

    Parameters
    ----------
    density : the map, on the 1 Å grid that `reference` was prepared for.
    before : result of this function for the input map; adds the fractions of cubes that improved.

    Returns
    -------
    dict of floats: fsc05, fsc0143 (Å), q, q_backbone, cc_mask, cc_box, rscc, cube, cube_mean (mean correlations, plain
    and about the mean), improved, improved_mean (fractions, if `before` is given); and `cubes`, two lists.

    Raises
    ------
    MapError
        If the shapes of map and reference differ.
    """
    if density.array.shape != reference.hr.array.shape:
        raise MapError("The map is not on the grid that its reference was prepared for.")
    s = spatial_frequency(density.array.shape, tuple(density.step))
    coefficients = masked_coefficients(density.array, reference.mask)
    frequencies, curve = shell_correlation(coefficients, reference.coefficients, s, max(density.step))
    q = qscore.scores(density, reference.points, reference.valid)
    plain, about_mean = cube_correlations(density.array, reference.hr.array, reference.starts)
    backbone = reference.atoms.backbone
    result: dict = {
        "fsc05": resolution_at(frequencies, curve, 0.5),
        "fsc0143": resolution_at(frequencies, curve, 0.143),
        "q": float(q.mean()),
        "q_backbone": float(q[backbone].mean()) if backbone.any() else float("nan"),
        "cc_mask": pearson(density.array[reference.inside], reference.expected[reference.inside]),
        "cc_box": pearson(density.array, reference.expected),
        "rscc": pearson(density.array[reference.near], reference.hr.array[reference.near]),
        "cube": float(plain.mean()) if plain.size else float("nan"),
        "cube_mean": float(about_mean.mean()) if plain.size else float("nan"),
        "cubes": [plain.tolist(), about_mean.tolist()],
    }
    if before is not None:
        for name, now, then in zip(("improved", "improved_mean"), (plain, about_mean), before["cubes"], strict=True):
            result[name] = float((now > np.array(then)).mean()) if plain.size else float("nan")
    return result


def evaluate_map_cached(density: DensityMap, reference: Reference, cache: Cache, before: dict | None = None) -> dict:
    """As `evaluate_map`, but taken from the cache if it is there."""
    key = digest(SOURCE, density.array, reference.hr.array, reference.expected, *reference.atoms.arrays().values(),
                 before["cubes"] if before else None)
    record = cache.record(key)
    if record is None:
        record = evaluate_map(density, reference, before)
        cache.keep(key, record)
    return record
