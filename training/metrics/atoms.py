"""Atoms of a model as arrays, with only what the metrics need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from superem.core.density import DensityMap

#: Backbone atoms of proteins and nucleic acids, as defined by the authors of Q-score.
BACKBONE = frozenset("N CA C O OXT P OP1 OP2 O5' C5' C4' O4' C3' O3' C2' O2' C1'".split())
#: Residues with fewer atoms, such as ions and waters, are too small to be judged as ligands.
SMALLEST_LIGAND = 6
#: Force-field names of protonation states: amino acids, not ligands.
PROTONATION_STATES = frozenset("HSD HSE HSP HID HIE HIP CYX CYM ASH GLH LYN".split())


@dataclass(frozen=True)
class Atoms:
    """Heavy atoms of one model.

    Attributes
    ----------
    xyz : (n, 3) float64, Å, in the map's frame.
    element : (n,) element symbols.
    b_iso : (n,) Å².
    occupancy : (n,)
    backbone, ligand : (n,) bool. A ligand is a residue of six atoms or more that is neither polymer nor water.
    residue : (n,) int, the index of the residue that the atom belongs to, in the model's order.
    """

    xyz: np.ndarray
    element: np.ndarray
    b_iso: np.ndarray
    occupancy: np.ndarray
    backbone: np.ndarray
    ligand: np.ndarray
    residue: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, which: np.ndarray) -> Atoms:
        """Return the atoms selected by a (n,) bool mask."""
        return Atoms(*(array[which] for array in self.arrays().values()))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all attributes by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def mass(self) -> np.ndarray:
        """Standard atomic weights, (n,), Da."""
        return np.array([gemmi.Element(e).weight for e in self.element])

    @property
    def volume(self) -> float:
        """Volume of the molecule in Å³: 1.21 Å³ per dalton, with hydrogens (7 % on top of the mass of the heavy atoms).

        Atoms of partial occupancy count in full: only one alternative conformation is read, and in models of maps occupancy often
        describes mobility.
        """
        return float(self.mass.sum() * 1.07 * 1.21)


def read_atoms(path: str | Path) -> Atoms:
    """Read the heavy atoms of the first model of a PDB or mmCIF file (.gz too).

    Raises
    ------
    ValueError
        If the file has no atoms.
    """
    structure = gemmi.read_structure(str(path))
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    rows = []
    residue_index = -1
    for chain in structure[0] if len(structure) else ():
        for residue in chain:
            residue_index += 1
            known = gemmi.find_tabulated_residue(residue.name)
            polymer = known.is_amino_acid() or known.is_nucleic_acid() or residue.name in PROTONATION_STATES
            large = not polymer and not known.is_water() and len(residue) >= SMALLEST_LIGAND
            for atom in residue:
                main_chain = polymer and atom.name in BACKBONE
                rows.append(
                    (atom.pos.tolist(), atom.element.name, atom.b_iso, atom.occ, main_chain, large, residue_index)
                )
    if not rows:
        raise ValueError(f"{Path(path).name} holds no atoms.")
    return Atoms(*(np.array(column) for column in zip(*rows, strict=True)))


def to_gemmi(atoms: Atoms, like: DensityMap) -> gemmi.Structure:
    """Put atoms into a P1 cell as large as the box of `like`, whose first voxel is at the cell's origin."""
    structure = gemmi.Structure()
    x, y, z = (n * s for n, s in zip(like.shape[::-1], like.step, strict=True))
    structure.cell = gemmi.UnitCell(x, y, z, 90, 90, 90)
    structure.spacegroup_hm = "P 1"
    chain = gemmi.Chain("A")
    residue = gemmi.Residue()
    residue.name, residue.seqid = "UNK", gemmi.SeqId("1")
    for xyz, element, b_iso, occupancy in zip(atoms.xyz - np.asarray(like.origin), atoms.element, atoms.b_iso, atoms.occupancy,
                                              strict=True):
        atom = gemmi.Atom()
        atom.name, atom.element = element, gemmi.Element(element)
        atom.pos, atom.b_iso, atom.occ = gemmi.Position(*xyz), b_iso, occupancy
        residue.add_atom(atom)
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    return structure
