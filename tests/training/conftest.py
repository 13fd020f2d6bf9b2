"""Fixtures: a small made-up molecule, made-up maps with their evaluation, and an archive, so that no test needs external data."""

import csv
import gzip
import http.server
import re
import threading

import gemmi
import mrcfile
import numpy as np
import pytest
import torch
from superem.core.density import DensityMap
from superem.core.mrc import write_mrc
from superem.nets import store

from superem import nets
from training import fetch, metrics, pool, simulate
from training.density import gaussian_density
from training.evaluate import main as evaluate
from training.structures import Scatterers, read_scatterers

TRAINING = {"steps": 1000, "hours": 0.5, "tile_edge": 40, "batch": 20, "device": "one GPU", "objective": "fsc",
            "share_of_real_tiles": 0.25}
STEP, START = 1.25, (-6, 3, 9)  # voxel size in Å, and position of the map's first voxel in voxels, in `archive`


@pytest.fixture(scope="session")
def atoms():
    """A random walk of 900 atoms in three chains, within 17 Å of its start, with B-factors."""
    rng = np.random.default_rng(5)
    xyz = [np.zeros(3)]
    while len(xyz) < 900:
        step = rng.standard_normal(3)
        new = xyz[-1] + 1.5 * step / np.linalg.norm(step)
        if np.linalg.norm(new) < 17:
            xyz.append(new)
    b = 20 + 15 * np.abs(np.cumsum(rng.standard_normal(900)) / 15)
    chains = np.repeat(np.arange(3), 300).astype(np.int16)
    side = rng.choice([0, 0, 1, 1, 2], 900).astype(np.uint8)
    return Scatterers(np.array(xyz, np.float32), np.full(900, 7, np.float32), b.astype(np.float32), chains, side)


@pytest.fixture
def filled_pool(tmp_path, atoms):
    """A pool of a few simulated pairs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pool"
    folder.mkdir()
    pool.write_shard(folder / "simulated-00000.npz", [simulate.simulate(rng, atoms) for _ in range(3)])
    return folder


@pytest.fixture(scope="session")
def case():
    """A map at 4 Å of a rod of residues along x, with its atoms and reference."""
    rng = np.random.default_rng(2)
    along = np.repeat(np.linspace(12, 48, 25), 6)
    xyz = np.stack([along, np.full(150, 18.0), np.full(150, 18.0)], axis=1) + rng.uniform(-4, 4, (150, 3)) * [0.3, 1, 1]
    n = np.ones(150)
    atoms = metrics.Atoms(xyz, np.array(["C"] * 150), 30 * n, n, n > 0, n < 0, np.repeat(np.arange(25), 6))
    reference = metrics.Reference.prepare(atoms, DensityMap(np.zeros((36, 36, 60))), 4.0)
    return DensityMap(reference.expected), atoms, reference


def model_file(xyz: np.ndarray) -> str:
    """Return atoms as mmCIF text: alanines of six atoms each."""
    structure, chain = gemmi.Structure(), gemmi.Chain("A")
    for n, place in enumerate(xyz):
        if n % 6 == 0:
            residue = gemmi.Residue()
            residue.name, residue.seqid = "ALA", gemmi.SeqId(str(n // 6 + 1))
        atom = gemmi.Atom()
        atom.name, atom.element = ("N", "CA", "C", "O", "CB", "OXT")[n % 6], gemmi.Element("C")
        atom.pos, atom.b_iso = gemmi.Position(*place), 30
        residue.add_atom(atom)
        if n % 6 == 5:
            chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure.make_mmcif_document().as_string()


@pytest.fixture(scope="session")
def make_network():
    """Return a function that makes a small U-Net, with random noise of a given strength added to its weights, and its options."""

    def make(seed, strength):
        torch.manual_seed(seed)
        options = {"widths": [8, 8], "depths": [1, 1]}
        network = nets.build("unet", **options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += strength * torch.randn_like(parameter)
        return network, options

    return make


@pytest.fixture(scope="session")
def evaluated(make_network, tmp_path_factory):
    """A folder with two small maps and models (named as validation maps), weights, and their evaluation by the real command."""
    root = tmp_path_factory.mktemp("evaluated")
    rng = np.random.default_rng(2)
    with open(root / "pairs.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "resolution", "split", "group"])
        for name in ("6spe_r", "QR_3los_A"):
            along = np.repeat(np.linspace(8, 26, 12), 6)
            xyz = np.stack([along, np.full(72, 13.0), np.full(72, 13.0)], axis=1) + rng.uniform(-3, 3, (72, 3))
            n = np.ones(72)
            atoms = metrics.Atoms(xyz, np.array(["C"] * 72), 30 * n, n, n > 0, n < 0, np.repeat(np.arange(12), 6))
            empty = DensityMap(np.zeros((30, 30, 34), np.float32))
            noise = 0.02 * rng.standard_normal(empty.shape)
            (root / name).mkdir()
            write_mrc(root / name / "map.mrc.gz", DensityMap(metrics.Reference.prepare(atoms, empty, 4.0).expected + noise))
            (root / name / "model.cif.gz").write_bytes(gzip.compress(model_file(xyz).encode()))
            lines.writerow([name, 4.0, "validation", name])
    network, options = make_network(0, 0.02)
    store.save(root / "small.safetensors", network, store.Card(
        "small", "unet", options, 32, 4, "robust", "A model for tests.", rotations=4, blur=[[3.0, 0.25], [5.0, 0.5]],
        training=TRAINING))
    evaluate(["--data", str(root), "--models", str(root / "small.safetensors"), "--fast", "--controls",
              "--cache", str(root / "cache"), "--json", str(root / "evaluation.json")])
    return root


def entry(rng):
    """Return, as mmCIF text, two chains side by side with hydrogens, waters and an alternative conformation."""
    structure = gemmi.Structure()
    structure.name = "1TST"
    model = gemmi.Model("1")
    for letter, shift in (("A", 12.0), ("B", 40.0)):
        chain = gemmi.Chain(letter)
        for number in range(1, 41):
            residue = gemmi.Residue()
            residue.name, residue.seqid, residue.entity_type = "ALA", gemmi.SeqId(str(number)), gemmi.EntityType.Polymer
            place = rng.uniform(0, 14, 3) + (shift, 20, 26)
            names = [("N", "N", 0), ("CA", "C", 1.4), ("C", "C", 2.8), ("O", "O", 4.0), ("HA", "H", 1.9)]
            for name, element, along in names:
                for altloc in ("A", "B") if (name, number) == ("CA", 3) else ("\0",):
                    atom = gemmi.Atom()
                    atom.name, atom.element, atom.altloc, atom.b_iso, atom.occ = name, gemmi.Element(element), altloc, 30, 1
                    atom.pos = gemmi.Position(place[0] + along, place[1], place[2])
                    residue.add_atom(atom)
            chain.add_residue(residue)
        water = gemmi.Residue()
        water.name, water.seqid = "HOH", gemmi.SeqId("201")
        oxygen = gemmi.Atom()
        oxygen.name, oxygen.element, oxygen.pos = "O", gemmi.Element("O"), gemmi.Position(shift, 20, 26)
        water.add_atom(oxygen)
        chain.add_residue(water)
        model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure.make_mmcif_document().as_string()


@pytest.fixture
def archive(tmp_path):
    """A server with one PDB and one EMDB entry: its URL, the requests it got, where to break off answers, and its files."""
    files, asked, breaks = {}, [], []
    text = entry(np.random.default_rng(2))
    files["/pdb/data/structures/divided/mmCIF/ts/1tst.cif.gz"] = gzip.compress(text.encode())
    (tmp_path / "entry.cif").write_text(text)
    atoms = read_scatterers(tmp_path / "entry.cif")
    origin = tuple(STEP * s for s in START)
    array = gaussian_density(atoms.coordinates, atoms.weights, (56, 52, 60), 1.2, origin, (STEP,) * 3)
    with mrcfile.new(tmp_path / "emd.map") as file:
        file.set_data(array - np.float32(0.02))  # negative solvent
        file.voxel_size = STEP
        file.header.nxstart, file.header.nystart, file.header.nzstart = START
    files["/emdb/structures/EMD-9/map/emd_9.map.gz"] = gzip.compress((tmp_path / "emd.map").read_bytes())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Range")))
            data = files.get(self.path, 404)
            if isinstance(data, int):  # an HTTP error instead of a file
                self.send_error(data)
                return
            begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if "whole files only" not in files else None
            rest = data[int(begin[1]) :] if begin else data
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: breaks.pop()] if breaks else rest)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, breaks, files
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """A function that writes short lists of ids, which replace the project's."""
    monkeypatch.setattr(fetch, "IDS", tmp_path / "ids")

    def write(structures=(), maps=()):
        for name, columns, rows in (
            ("structures.csv", "set,name,pdb,chains,atoms", structures),
            ("maps.csv", "id,emdb,pdb,chains,resolution,group,split,used,fetch,zone,clip,note", maps),
        ):
            (tmp_path / "ids").mkdir(exist_ok=True)
            (tmp_path / "ids" / name).write_text("\n".join([columns, *rows]) + "\n")

    return write
