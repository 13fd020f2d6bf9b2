"""Fetch the training data by PDB and EMDB id, and lay it out as the trainer reads it.

    python -m training.fetch --out DATA                # structures and maps: some 2 GB of downloads
    python -m training.fetch --out DATA --structures   # only the structures that simulated pairs are made of
    python -m training.fetch --out DATA --maps         # only the deposited maps

The ids are in `training/ids`. Entries that are already in DATA are not fetched again, and interrupted downloads resume.
docs/training.md says which entries cannot be fetched in this way, and what differs from the data that was trained on.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
from superem.core.density import DensityMap, MapError
from superem.core.files import replaced
from superem.core.mrc import read_mrc, write_mrc

from .command import IDS, as_command
from .density import SIGMA_PER_RESOLUTION, gaussian_density
from .download import FetchError, RefusedError, UnreachableError, download
from .metrics.grid import distance_to_atoms, pearson
from .structures import read_scatterers

ARCHIVE = "https://files.wwpdb.org/pub"
#: Margin of density kept around the model, Å.
MARGIN = 8.0
#: Distance from the model within which map and model are compared, Å.
COMPARE_DISTANCE = 3.0
#: Correlation below which the model is taken not to lie on the map.
MIN_CORRELATION = 0.2
#: Number of successive refusals after which fetching stops.
REFUSALS = 3
#: Relative change in the number of atoms, against the structure trained on, above which a structure is reported.
MAX_ATOM_CHANGE = 0.2
MAP_COLUMNS = ("id", "emdb", "pdb", "resolution", "shape_zyx", "voxel", "group", "split", "cc_mask", "note")
STRUCTURE_COLUMNS = ("set", "name", "chains", "atoms", "b_min", "b_max")
Row = dict[str, str]


def pdb_url(archive: str, pdb: str) -> str:
    """Return the URL of an entry's mmCIF file."""
    return f"{archive}/pdb/data/structures/divided/mmCIF/{pdb[1:3].lower()}/{pdb.lower()}.cif.gz"


def emdb_url(archive: str, emdb: str) -> str:
    """Return the URL of an entry's primary map."""
    return f"{archive}/emdb/structures/{emdb}/map/{emdb.lower().replace('-', '_')}.map.gz"


def read_entry(path: Path, chains: str) -> gemmi.Structure:
    """Read the first model of an mmCIF file, without hydrogens, waters and alternative conformations.

    `chains` selects what to keep: chains by one letter each ("AB"), a residue range of one chain ("A:381-719"), or everything if
    it is empty.

    Raises
    ------
    FetchError
        If the file is damaged (it is then deleted, so that it is fetched again), or if no atoms are left.
    """
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        path.unlink()
        raise FetchError(f"{path} was damaged and has been removed ({error}); run the command again.") from None
    if len(structure) == 0:
        raise FetchError(f"{path} has no atoms.")
    while len(structure) > 1:
        del structure[-1]
    structure.setup_entities()
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    structure.remove_waters()
    letters, _, residues = chains.partition(":")
    model = structure[0]
    for i in reversed(range(len(model))):
        if letters and model[i].name not in set(letters):  # large entries have chain names of several letters
            del model[i]
        elif residues:
            first, last = map(int, residues.split("-"))
            for j in reversed(range(len(model[i]))):
                number = model[i][j].seqid.num
                if number is None or not first <= number <= last:
                    del model[i][j]
    structure.remove_empty_chains()
    if model.count_atom_sites() == 0:
        raise FetchError(f"{path} has no atoms in chain {chains}: its chains may have been renamed.")
    return structure


def fetch_structure(row: Row, out: Path, archive: str) -> Row:
    """Fetch one structure to `out`/structures; return its row for structures.csv."""
    cif = download(pdb_url(archive, row["pdb"]), out / "downloads" / f"{row['pdb'].lower()}.cif.gz")
    structure = read_entry(cif, row["chains"])
    structure.shorten_chain_names()  # the PDB format has room for one character
    path = out / "structures" / row["set"] / f"{row['name']}.pdb.gz"
    _write_gz(path, structure.make_pdb_string().encode())
    b = read_scatterers(path).b_factors
    wanted = int(row["atoms"])
    if abs(len(b) / wanted - 1) > MAX_ATOM_CHANGE:
        print(f"{row['set']} {row['name']} has {len(b)} atoms; the one trained on had {wanted}.")
    counts = {"chains": str(len(structure[0])), "atoms": str(len(b))}
    return {**row, **counts, "b_min": f"{b.min():.1f}", "b_max": f"{b.max():.1f}"}


def fetch_map(row: Row, out: Path, archive: str) -> Row:
    """Fetch one map and its model to `out`/maps, cropped as it was for training; return its row for pairs.csv."""
    cif = download(pdb_url(archive, row["pdb"]), out / "downloads" / f"{row['pdb'].lower()}.cif.gz")
    whole = download(emdb_url(archive, row["emdb"]), out / "downloads" / f"{row['emdb'].lower()}.map.gz")
    structure = read_entry(cif, row["chains"])
    folder = out / "maps" / row["id"]
    _write_gz(folder / "model.cif.gz", structure.make_mmcif_document().as_string().encode())
    atoms = read_scatterers(folder / "model.cif.gz")
    try:
        density = crop(read_mrc(whole), atoms.coordinates, float(row["zone"] or 0), row["clip"] == "yes")
    except MapError as error:
        raise FetchError(f"{row['id']}: {error}") from None
    near = np.isfinite(distance_to_atoms(density, atoms.coordinates, COMPARE_DISTANCE))
    sigma = float(row["resolution"]) * SIGMA_PER_RESOLUTION
    model = gaussian_density(atoms.coordinates, atoms.weights, density.shape, sigma, density.origin, density.step)
    correlation = pearson(density.array[near], model[near])
    if correlation < MIN_CORRELATION:
        raise FetchError(f"{row['id']}: {row['pdb']} does not lie on {row['emdb']} (correlation {correlation:.2f}).")
    write_mrc(folder / "map.mrc.gz", density, [f"{row['emdb']} cropped round {row['pdb']} {row['chains']}".strip()])
    shape = "x".join(str(n) for n in density.shape)
    return {**row, "shape_zyx": shape, "voxel": f"{density.step[0]:.4f}", "cc_mask": f"{correlation:.3f}"}


def crop(density: DensityMap, xyz: np.ndarray, zone: float, clip: bool) -> DensityMap:
    """Crop a map to a box around atoms with a margin of 8 Å, and set it to 0 beyond `zone` Å from all atoms (0: no mask).

    Parameters
    ----------
    density
        The whole map.
    xyz
        (n, 3) atoms, Å.
    zone
        Radius of the mask, Å.
    clip
        Whether negative density is set to 0.

    Raises
    ------
    MapError
        If no atom lies in the map's box.
    """
    at = density.indices(np.asarray(xyz, float))[:, ::-1]  # kji
    if not np.any(np.all((at >= 0) & (at <= np.array(density.shape) - 1), axis=1)):
        raise MapError("no atom of the model lies in the map's box")
    around = MARGIN / np.asarray(density.step)[::-1]
    first = np.maximum(np.floor(at.min(axis=0) - around).astype(int), 0)
    last = np.minimum(np.ceil(at.max(axis=0) + around).astype(int) + 1, density.shape)
    array = density.array[tuple(slice(a, b) for a, b in zip(first, last, strict=True))].copy()
    x, y, z = (float(v) for v in density.positions(first[::-1].astype(float)))
    box = replace(density, array=array, origin=(x, y, z))
    if zone:
        array[np.isinf(distance_to_atoms(box, np.asarray(xyz, float), zone))] = 0
    if clip:
        np.maximum(array, 0, out=array)
    return box


def fetch_all(rows: list[Row], index: Path, key: tuple[str, ...], columns: tuple[str, ...], one: Callable[[Row], Row]) -> int:
    """Fetch the rows that `index` (a csv file) does not list yet, one by one; return how many failed.

    The index is rewritten after each row, so the command can be stopped at any time.

    Raises
    ------
    UnreachableError
        If the archive does not answer, or refuses several entries in a row.
    """
    done: dict[tuple[str, ...], Row] = {}
    if index.exists():
        with open(index, newline="") as lines:
            done = {tuple(r[k] for k in key): r for r in csv.DictReader(lines)}
    failed = refused = 0
    for row in rows:
        name = tuple(row[k] for k in key)
        if name in done:
            refused = 0  # else a second run, which only retries refused entries, would always stop
            continue
        try:
            done[name] = one(row)
        except UnreachableError:
            raise
        except FetchError as error:
            refused = refused + 1 if isinstance(error, RefusedError) else 0
            if refused == REFUSALS:
                raise UnreachableError(str(error)) from None
            print(error)
            failed += 1
            continue
        refused = 0
        print(f"{' '.join(name)}: done")
        index.parent.mkdir(parents=True, exist_ok=True)
        with replaced(index) as part, open(part, "w", newline="") as out:
            writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(done.values())
    return failed


def _write_gz(path: Path, data: bytes) -> None:
    """Write a .gz file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_bytes(gzip.compress(data, mtime=0))


def _listed(name: str) -> list[Row]:
    with open(IDS / name, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def main(arguments: list[str] | None = None) -> None:
    """Fetch structures and maps; report those that cannot be fetched."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; what is in it is not fetched again")
    parser.add_argument("--structures", action="store_true", help="only the structures")
    parser.add_argument("--maps", action="store_true", help="only the maps")
    parser.add_argument("--archive", default=ARCHIVE, help="the archive, or a mirror laid out like it")
    options = parser.parse_args(arguments)
    both = options.structures == options.maps
    out, archive, failed = options.out, options.archive.rstrip("/"), 0
    try:
        if both or options.structures:
            rows = _listed("structures.csv")
            failed += fetch_all(rows, out / "structures/structures.csv", ("set", "name"), STRUCTURE_COLUMNS,
                                lambda row: fetch_structure(row, out, archive))  # fmt: skip
        if both or options.maps:
            rows = _listed("maps.csv")
            for row in rows:
                if row["fetch"] == "no":
                    print(f"{row['id']} is left out: {row['note']}.")
            failed += fetch_all([r for r in rows if r["fetch"] == "yes"], out / "maps/pairs.csv", ("id",), MAP_COLUMNS,
                                lambda row: fetch_map(row, out, archive))  # fmt: skip
    except UnreachableError as error:
        raise SystemExit(f"{error} What is done is kept: run the command again to go on.") from None
    print(f"The downloaded files in {out / 'downloads'} are no longer needed.")
    if failed:
        raise SystemExit(f"{failed} of the entries could not be fetched; the lines above say why.")


if __name__ == "__main__":
    as_command(main)
