"""Atoms of model files, and the cached structures from which pairs are simulated."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from superem.core.files import replaced


@dataclass(frozen=True)
class Scatterers:
    """Heavy atoms of a model as scatterers of electrons, to compute densities. `metrics.Atoms` is for measuring.

    Attributes
    ----------
    coordinates
        (n, 3) xyz in Å, float32.
    weights
        (n,) electrons (atomic number times occupancy), float32.
    b_factors
        (n,) Å², float32.
    chains
        (n,) chain index, int16.
    side
        (n,) 0 main chain or nucleic acid, 1 side chain, 2 end of an acidic side chain, uint8.
    """

    coordinates: np.ndarray
    weights: np.ndarray
    b_factors: np.ndarray
    chains: np.ndarray
    side: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, keep: np.ndarray) -> Scatterers:
        return Scatterers(*(getattr(self, f)[keep] for f in self.__dataclass_fields__))


MAIN_CHAIN = {"N", "CA", "C", "O", "OXT"}
ACIDIC_ENDS = {("ASP", "CG"), ("ASP", "OD1"), ("ASP", "OD2"), ("GLU", "CD"), ("GLU", "OE1"), ("GLU", "OE2")}


def read_scatterers(path: str | Path) -> Scatterers:
    """Read the heavy atoms of the first model of a PDB or mmCIF file (.gz too), without waters.

    All alternative conformations are kept, weighted by occupancy, so that the density is that of the whole model.
    `metrics.read_atoms` keeps one conformation, since scores are per atom, and keeps waters, which a map shows.

    Raises
    ------
    ValueError
        If the file has no atoms.
    """
    structure = gemmi.read_structure(str(path))
    rows: list[tuple[float, ...]] = []
    for number, chain in enumerate(structure[0] if len(structure) else ()):
        for residue in chain:
            if residue.is_water():
                continue
            protein = residue.find_atom("CA", "*") is not None
            for atom in residue:
                if atom.is_hydrogen():
                    continue
                side = 0
                if protein and atom.name not in MAIN_CHAIN:
                    side = 2 if (residue.name, atom.name) in ACIDIC_ENDS else 1
                p = atom.pos
                rows.append((p.x, p.y, p.z, atom.element.atomic_number * atom.occ, atom.b_iso, number, side))
    if not rows:
        raise ValueError(f"{path} has no atoms.")
    table = np.array(rows, np.float32)
    return Scatterers(
        table[:, :3], table[:, 3], table[:, 4], table[:, 5].astype(np.int16), table[:, 6].astype(np.uint8)
    )


def load_structures(folder: str | Path, cache: str | Path) -> dict[str, list[Scatterers]]:
    """Return the structures listed in `folder`/structures.csv, by set.

    Reading 1,567 files takes a minute, so the atoms are cached in `cache`, an npz file. It is valid as long as the list of
    structures is the same, and suffices where the list is not at hand.

    Raises
    ------
    SystemExit
        If there is neither the list nor the cache, or a listed file is missing.
    """
    cache, table = Path(cache), Path(folder) / "structures.csv"
    listed = table.read_bytes() if table.exists() else None
    if cache.exists():
        with np.load(cache) as arrays:
            if listed is None or arrays["listed"].tobytes() == listed:
                return _unpack(arrays)
    if listed is None:
        raise SystemExit(f"{table} is missing: it lists the structures to train on (docs/training.md says how).")
    sets: dict[str, list[Scatterers]] = {}
    for row in csv.DictReader(listed.decode().splitlines()):
        path = Path(folder) / row["set"] / f"{row['name']}.pdb.gz"
        if not path.exists():
            raise SystemExit(f"{path} is missing, though {table.name} lists it.")
        sets.setdefault(row["set"], []).append(read_scatterers(path))
    cache.parent.mkdir(parents=True, exist_ok=True)
    with replaced(cache) as part, open(part, "wb") as whole:  # several processes may write it at the same time
        np.savez_compressed(whole, listed=np.frombuffer(listed, np.uint8), **_pack(sets))
    with np.load(cache) as arrays:  # so that the first run gets the same rounded values as later ones
        return _unpack(arrays)


def _pack(sets: dict[str, list[Scatterers]]) -> dict[str, np.ndarray]:
    """Pack all atoms into a few small arrays: coordinate differences in 0.01 Å, B-factors in 0.5 Å²."""
    packed = {}
    for name, structures in sets.items():
        grid = [np.rint(100 * (s.coordinates - s.coordinates[0])).astype(np.int32) for s in structures]
        packed[f"{name} step"] = np.concatenate([np.diff(g, axis=0, prepend=0).astype(np.int16).T for g in grid], axis=1)
        packed[f"{name} b"] = np.concatenate([np.clip(2 * s.b_factors, 0, 1000).astype(np.uint16) for s in structures])
        packed[f"{name} length"] = np.array([len(s) for s in structures])
        for field, kind in (("weights", np.float16), ("chains", np.int16), ("side", np.uint8)):
            packed[f"{name} {field}"] = np.concatenate([getattr(s, field) for s in structures]).astype(kind)
    return packed


def _unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, list[Scatterers]]:
    sets = {}
    for name in (key.removesuffix(" length") for key in arrays if key.endswith(" length")):
        ends = np.cumsum(arrays[f"{name} length"])[:-1]
        steps, b, weights, chains, side = (
            np.split(arrays[f"{name} {field}"], ends, axis=-1) for field in ("step", "b", "weights", "chains", "side")
        )
        sets[name] = [
            Scatterers(
                np.cumsum(steps[i].T, axis=0, dtype=np.int32).astype(np.float32) / 100, weights[i].astype(np.float32),
                b[i].astype(np.float32) / 2, chains[i], side[i],
            )
            for i in range(len(ends) + 1)
        ]  # fmt: skip
    return sets
