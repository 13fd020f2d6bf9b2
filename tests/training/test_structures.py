"""Tests of the structures for simulation: reading and caching."""

import gzip

import gemmi
import numpy as np
import pytest

from training import structures


def test_side_chains_and_their_acidic_ends_are_told_from_the_main_chain(tmp_path):
    """Only Asp and Glu have acidic ends, which lose density to radiation; Asn has none, and DNA has no side chains."""
    residues = {"ASP": "N CA C O CB CG OD1 OD2", "GLU": "N CA C O CB CG CD OE1 OE2", "ASN": "N CA C O CB CG OD1 ND2",
                "DA": "P O5' C1' N9"}
    lines = [f"ATOM  {0:5d} {name:>4s} {residue:>3s} A{number:4d}    {10 + number:8.3f}{0:8.3f}{0:8.3f}  1.00 20.00"
             f"           {name[0]}" for number, (residue, names) in enumerate(residues.items(), 1) for name in names.split()]
    (tmp_path / "a.pdb").write_text("\n".join(lines) + "\n")
    assert structures.read_scatterers(tmp_path / "a.pdb").side.tolist() == [
        0, 0, 0, 0, 1, 2, 2, 2, 0, 0, 0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


def test_the_cache_of_structures_is_renewed_with_their_list(tmp_path, atoms):
    """Cached coordinates are exact to 0.01 Å; a changed list is read again; without files, the cache suffices."""
    folder, cache = tmp_path / "structures", tmp_path / "cache.npz"
    for name in ("one", "two"):
        write_pdb(folder / "PDownB" / f"{name}.pdb.gz", atoms)
    table = folder / "structures.csv"
    table.write_text("set,name\nPDownB,one\n")
    (first,) = structures.load_structures(folder, cache)["PDownB"]
    read = structures.read_scatterers(folder / "PDownB" / "one.pdb.gz")
    np.testing.assert_allclose(first.coordinates, read.coordinates - read.coordinates[0], atol=0.0051)
    np.testing.assert_allclose(first.b_factors, read.b_factors, atol=0.5)
    np.testing.assert_array_equal(first.side, read.side)
    table.write_text("set,name\nPDownB,one\nPDownB,two\n")
    assert len(structures.load_structures(folder, cache)["PDownB"]) == 2
    table.unlink()
    assert len(structures.load_structures(folder, cache)["PDownB"]) == 2
    cache.unlink()
    with pytest.raises(SystemExit, match="lists the structures"):
        structures.load_structures(folder, cache)
    table.write_text("set,name\nPDownB,one\nPDownB,three\n")
    with pytest.raises(SystemExit, match="three.pdb.gz is missing, though structures.csv lists it"):
        structures.load_structures(folder, cache)


def write_pdb(path, atoms):
    """Write the first atoms of a set as a chain of glycines to a PDB file."""
    structure, model, chain = gemmi.Structure(), gemmi.Model("1"), gemmi.Chain("A")
    for i in range(12):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "GLY", gemmi.SeqId(str(i + 1))
        for name, xyz in zip(("N", "CA", "C", "O"), atoms.coordinates[4 * i : 4 * i + 4], strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(name[0]), 20 + i
            atom.pos = gemmi.Position(*map(float, xyz))
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(structure.make_pdb_string().encode()))
