"""Atoms of a model file, and the cached set of structures that simulated pairs are made from."""

from __future__ import annotations

import csv
import pickle
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np


@dataclass(frozen=True)
class Atoms:
    """Heavy atoms of a model.

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
        (n,) 0 main chain or nucleic acid, 1 side chain, 2 the end of an acidic side chain, uint8.
    """

    coordinates: np.ndarray
    weights: np.ndarray
    b_factors: np.ndarray
    chains: np.ndarray
    side: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, keep: np.ndarray) -> Atoms:
        return Atoms(*(getattr(self, f)[keep] for f in self.__dataclass_fields__))


MAIN_CHAIN = {"N", "CA", "C", "O", "OXT"}
ACIDIC_ENDS = {("ASP", "CG"), ("ASP", "OD1"), ("ASP", "OD2"), ("GLU", "CD"), ("GLU", "OE1"), ("GLU", "OE2")}


def read_atoms(path: str | Path) -> Atoms:
    """Heavy atoms of the first model of a PDB or mmCIF file (.gz too); waters and hydrogens are left out."""
    model = gemmi.read_structure(str(path))[0]
    rows: list[tuple[float, ...]] = []
    for number, chain in enumerate(model):
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
    return Atoms(
        table[:, :3], table[:, 3], table[:, 4], table[:, 5].astype(np.int16), table[:, 6].astype(np.uint8)
    )


def load_structures(folder: str | Path, cache: str | Path) -> dict[str, list[Atoms]]:
    """Structures listed in `folder`/structures.csv by set.

    Reading 1,567 files takes a minute, so the atoms are kept in `cache`, a file that this function alone writes.
    """
    cache = Path(cache)
    if cache.exists():
        return pickle.loads(cache.read_bytes())
    sets: dict[str, list[Atoms]] = {}
    with open(Path(folder) / "structures.csv", newline="") as lines:
        for row in csv.DictReader(lines):
            path = Path(folder) / row["set"] / f"{row['name']}.pdb.gz"
            sets.setdefault(row["set"], []).append(read_atoms(path))
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(pickle.dumps(sets))
    return sets
