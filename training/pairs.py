"""Real training pairs: deposited maps and their models, drawn in random orientations on a 1 Å grid."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation
from superem.core.density import DensityMap
from superem.core.mrc import read_mrc
from superem.core.normalise import robust

from .degrade import frequencies, radial_power
from .density import gaussian_density
from .simulate import Pair, target_density
from .structures import Scatterers, read_scatterers

#: Marked `train` but left out: the mouse homologue of the ASC filament is the protein of a validation map.
HOMOLOGUES = {"2n1f_A": "same protein family as validation map QR_3j63_A"}
#: Marked `train` but left out: the model does not describe the map well enough to be a target.
POOR_MODELS = {
    "QR_1oed": "tubular-crystal model of 2005, correlation 0.28",
    "EMMIVox_24095": "correlation 0.24",
    "EMD-5168": "one subunit of a helix modelled, 6.6 Å",
    "EMD-3186": "7.9 Å, backbone-level density only",
}


#: Columns that pairs.csv must have; it may have others.
COLUMNS = ("id", "resolution", "group", "split")


def listed(folder: str | Path) -> list[dict[str, str]]:
    """Return the rows of `folder`/pairs.csv, each of which lists a map with its model.

    Raises
    ------
    SystemExit
        If the file does not exist, or lacks a column or a map's resolution.
    """
    path = Path(folder) / "pairs.csv"
    if not path.exists():
        raise SystemExit(f"{path} is missing: it lists the maps and their models (docs/training.md says how).")
    with open(path, newline="", encoding="utf-8-sig") as lines:  # spreadsheets may write a byte order mark
        reader = csv.DictReader(lines)
        rows = list(reader)
    lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise SystemExit(f"{path} lacks the columns {', '.join(lacking)}.")
    for row in rows:
        try:
            float(row["resolution"])
        except (TypeError, ValueError):
            raise SystemExit(f"{path} lacks the resolution of {row['id']}: it must be a number of Å.") from None
    return rows


def files(folder: str | Path, name: str) -> tuple[Path, Path]:
    """Return the paths of the map and the model of a pair that pairs.csv lists.

    Raises
    ------
    SystemExit
        If one of them is missing.
    """
    density, model = Path(folder) / name / "map.mrc.gz", Path(folder) / name / "model.cif.gz"
    for path in (density, model):
        if not path.exists():
            raise SystemExit(f"{path} is missing, though pairs.csv lists {name}.")
    return density, model


@dataclass(frozen=True)
class RealMap:
    """A deposited map, its cubic-spline coefficients (zyx), its model, the resolution (Å) as deposited, and its protein."""

    density: DensityMap
    spline: np.ndarray
    atoms: Scatterers
    resolution: float
    group: str


def read_map(path: Path) -> DensityMap:
    """Read a map whose axes are parallel to those of its model's coordinates.

    Raises
    ------
    SystemExit
        If the file says that ChimeraX rotated the map: training and metrics use only origin and voxel size.
    """
    density = read_mrc(path)
    if not np.allclose(density.rotation, np.eye(3)):
        raise SystemExit(f"{path} has a rotated grid: resample it onto one whose axes are parallel to x, y and z.")
    return density


def read_split(folder: str | Path, split: str) -> dict[str, RealMap]:
    """Read the maps of `folder`/pairs.csv that belong to `split`; from the train split, only those fit to train on.

    Raises
    ------
    SystemExit
        If there is none, or a protein of the train split is in the validation split too.
    """
    rows = listed(folder)
    fit = [r for r in rows if r["split"] == split and (split != "train" or r["id"] not in (*HOMOLOGUES, *POOR_MODELS))]
    if not fit:
        raise SystemExit(f"{Path(folder) / 'pairs.csv'} has no map in the split {split}.")
    both = {r["group"] for r in fit} & {r["group"] for r in rows if r["split"] == "validation"}
    if split == "train" and both:
        raise SystemExit(f"{Path(folder) / 'pairs.csv'} has {', '.join(sorted(both))} both in train and in validation: all maps "
                         "of a protein belong to one of them.")
    maps = {}
    for r in fit:
        map_file, model_file = files(folder, r["id"])
        density, atoms = read_map(map_file), read_scatterers(model_file)
        spline = ndimage.spline_filter(density.array, output=np.float32)
        maps[r["id"]] = RealMap(density, spline, atoms, float(r["resolution"]), r["group"])
    return maps


def draw(rng: np.random.Generator, real: RealMap, n: int = 72) -> Pair:
    """Draw one (n, n, n) pair from a real map: rotated, shifted, and re-sharpened or degraded at random.

    HR is trusted within about 3.5 Å of the model, and where the map is empty. Density that nobody modelled is neither right nor
    wrong.
    """
    turn = Rotation.random(random_state=int(rng.integers(2**31)))
    centre = real.atoms.coordinates[rng.integers(len(real.atoms))].astype(float) + rng.uniform(-12, 12, 3)
    # world = centre + turn(local - n/2); index = (world - origin) / step
    k, j, i = np.indices((n, n, n), dtype=np.float32).reshape(3, -1)
    world = turn.apply(np.stack([i, j, k], 1) - n / 2) + centre
    index = (world - np.asarray(real.density.origin)) / np.asarray(real.density.step)
    at = index.T[::-1]
    lr = ndimage.map_coordinates(real.spline, at, order=3, mode="constant", prefilter=False).reshape(n, n, n)
    outside = ndimage.map_coordinates(real.density.array, at, order=0, mode="constant").reshape(n, n, n) == 0
    lr, resolution = _degrade(rng, lr, real.resolution, n)
    if rng.random() < 0.5:  # a sharp mask edge on this grid; otherwise the edge rings, as after resampling
        lr[outside] = 0
    if rng.random() < 0.2:
        np.maximum(lr, 0, out=lr)

    at = turn.inv().apply(real.atoms.coordinates - centre) + n / 2
    hr = target_density(at, real.atoms.weights, n)
    near = gaussian_density(at, np.ones(len(at)), (n, n, n), 1.5) > 0.004  # up to 3 to 4 Å from an atom
    lr = robust(lr).apply(lr)
    empty = ndimage.gaussian_filter(np.abs(lr), 1.5) < 0.08
    lr *= rng.uniform(0.8, 1.25)
    trusted = np.where(near | empty, 255, 0).astype(np.uint8)
    return Pair(lr.astype(np.float16), hr.astype(np.float16), trusted, resolution)


def _degrade(rng: np.random.Generator, lr: np.ndarray, resolution: float, n: int) -> tuple[np.ndarray, float]:
    """Re-sharpen a map, and sometimes degrade it to a coarser resolution with more noise; return it and its resolution (Å)."""
    q2, _ = frequencies(n)
    spectrum = fft.rfftn(lr)
    coarser = max(resolution, 2.8)
    if resolution < 2.8 or rng.random() < 0.35:
        coarser += float(rng.exponential(0.6))
        shell, power = radial_power(spectrum, q2, n)
        q = np.arange(n + 1) / n
        raw_b = rng.uniform(60, 200) * (coarser / 3.5) ** 2
        ratio = 3 * np.exp(np.clip(0.5 * raw_b * (q**2 - 1 / coarser**2), -20, 4))
        noise = fft.rfftn(rng.standard_normal((n, n, n)).astype(np.float32))
        spectrum = spectrum + noise * np.sqrt(power * ratio / n**3)[shell]
        cut = 1 / (coarser * rng.uniform(0.8, 1.05))
        spectrum = spectrum * np.clip(0.5 + (cut - np.sqrt(q2)) / rng.uniform(0.02, 0.06), 0, 1)
    fall = rng.normal(0, 0.5)  # fall of ln amplitude at the resolution limit
    spectrum = spectrum * np.exp(-fall * np.clip(q2 * coarser**2, 0, 1.5))
    return fft.irfftn(spectrum.astype(np.complex64), s=(n, n, n)).astype(np.float32), coarser


def stream(rng: np.random.Generator, maps: dict[str, RealMap]) -> Iterator[Pair]:
    """Yield pairs of real maps without end, drawing each protein equally often."""
    groups = sorted({m.group for m in maps.values()})
    while True:
        group = groups[rng.integers(len(groups))]
        members = [m for m in maps.values() if m.group == group]
        pair = draw(rng, members[rng.integers(len(members))])
        if np.count_nonzero(pair.hr > 0.3) > 1000:
            yield pair
