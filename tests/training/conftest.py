"""Fixtures: a small made-up molecule, and made-up maps with their evaluation, so that no test needs external data."""

import csv
import gzip

import gemmi
import numpy as np
import pytest
import torch
from superem.core.density import DensityMap
from superem.core.mrc import write_mrc
from superem.nets import store

from superem import nets
from training import metrics, pool, simulate
from training.evaluate import main as evaluate
from training.structures import Scatterers

TRAINING = {"steps": 1000, "hours": 0.5, "tile_edge": 40, "batch": 20, "device": "one GPU", "objective": "fsc",
            "share_of_real_tiles": 0.25}


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
