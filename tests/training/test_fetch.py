"""Tests of fetching training data by id, from a small archive served on this machine."""

import csv
import gzip
import http.server
import re
import shutil
import threading

import gemmi
import mrcfile
import numpy as np
import pytest
from superem.core.mrc import read_mrc

from training import fetch, pairs
from training.density import gaussian_density
from training.structures import read_scatterers

STEP, START = 1.25, (-6, 3, 9)  # voxel size in Å, and position of the map's first voxel in voxels


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


def test_structures_and_maps_are_laid_out_as_the_trainer_reads_them(archive, lists, tmp_path, capsys):
    """Chains are selected, waters and hydrogens removed, maps cropped around their models and masked, and indices readable."""
    url, asked, _, _ = archive
    lists(["PDownB,1tst,1TST,A,160", "BM5,1TST,1TST,,500"],
          ["zoned,EMD-9,1TST,B:1-30,3.0,made up,train,yes,yes,3.0,yes,",
           "boxed,EMD-9,1TST,AB,3.0,made up too,validation,yes,yes,,no,",
           "lost,EMD-8,,A,3.0,made up,train,yes,no,,no,docked by others"])  # fmt: skip
    fetch.main(["--out", str(tmp_path / "data"), "--archive", url])
    said = capsys.readouterr().out
    assert "lost is left out: docked by others." in said
    assert "BM5 1TST has 320 atoms; the one trained on had 500." in said
    assert "PDownB 1tst has" not in said
    assert len(asked) == 2  # each file once, although several rows need it

    with open(tmp_path / "data/structures/structures.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["set"], r["name"], r["chains"], r["atoms"]) for r in rows] == [
        ("PDownB", "1tst", "1", "160"), ("BM5", "1TST", "2", "320")]  # fmt: skip
    assert len(read_scatterers(tmp_path / "data/structures/PDownB/1tst.pdb.gz")) == 160
    assert b"HOH" not in gzip.decompress((tmp_path / "data/structures/PDownB/1tst.pdb.gz").read_bytes())

    folder = tmp_path / "data/maps"
    zoned, boxed = (read_mrc(folder / name / "map.mrc.gz") for name in ("zoned", "boxed"))
    atoms = read_scatterers(folder / "zoned/model.cif.gz")
    assert len(atoms) == 120
    kji = np.argwhere(zoned.array > 0)
    distance = np.linalg.norm(zoned.positions(kji[:, ::-1])[:, None] - atoms.coordinates[None], axis=-1).min(axis=1)
    assert 2 < distance.max() <= 3
    assert zoned.array.min() == 0
    assert boxed.array.min() == pytest.approx(-0.02)
    margin = read_scatterers(folder / "boxed/model.cif.gz").coordinates.min(axis=0) - boxed.origin
    assert fetch.MARGIN - 0.01 <= margin.min() and margin.max() <= fetch.MARGIN + STEP
    # the crop is where the entry's map is: its peaks are at the atoms
    expected = gaussian_density(read_scatterers(folder / "boxed/model.cif.gz").coordinates, np.full(320, 6.5), boxed.shape, 1.2,
                                boxed.origin, boxed.step)  # fmt: skip
    assert np.corrcoef(boxed.array.ravel(), expected.ravel())[0, 1] > 0.98
    read = pairs.read_split(folder, "train")
    assert list(read) == ["zoned"]
    assert (read["zoned"].resolution, read["zoned"].group) == (3.0, "made up")
    assert list(pairs.read_split(folder, "validation")) == ["boxed"]


def test_nothing_is_fetched_twice(archive, lists, tmp_path):
    """A second run requests nothing; a row added since is fetched, and the others stay listed."""
    url, asked, _, _ = archive
    lists(["PDownB,1tst,1TST,A,160"])
    command = ["--out", str(tmp_path / "data"), "--archive", url, "--structures"]
    fetch.main(command)
    before = len(asked)
    shutil.rmtree(tmp_path / "data/downloads")
    fetch.main(command)
    assert len(asked) == before
    lists(["PDownB,1tst,1TST,A,160", "BM5,1TST,1TST,B,160"])
    fetch.main(command)
    assert len((tmp_path / "data/structures/structures.csv").read_text().splitlines()) == 3


def test_a_download_that_breaks_off_goes_on_where_it_stopped(archive, tmp_path):
    """The second request asks only for the rest, and the file is complete."""
    url, asked, breaks, files = archive
    breaks.append(100)
    address = fetch.pdb_url(url, "1TST")
    path = fetch.download(address, tmp_path / "entry.cif.gz", wait=0.01)
    assert [r for _, r in asked] == [None, "bytes=100-"]
    assert path.read_bytes() == next(v for k, v in files.items() if k.endswith("cif.gz"))
    assert not list(tmp_path.glob("*.part"))


def test_an_archive_that_cannot_go_on_starts_again(archive, tmp_path):
    """It answers the second request with the whole file, which replaces the partial one."""
    url, _, breaks, files = archive
    files["whole files only"] = b""
    breaks.append(100)
    path = fetch.download(fetch.pdb_url(url, "1TST"), tmp_path / "entry.cif.gz", wait=0.01)
    assert path.read_bytes() == next(v for k, v in files.items() if k.endswith("cif.gz"))


def test_an_entry_that_is_gone_is_one_sentence_and_the_rest_goes_on(archive, lists, tmp_path, capsys):
    """A missing file is requested only once, and the other entries are fetched."""
    url, asked, _, _ = archive
    lists(["PDownB,9xyz,9XYZ,A,10", "PDownB,1tst,1TST,A,160"])
    with pytest.raises(SystemExit, match="1 of the entries could not be fetched"):
        fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--structures"])
    said = capsys.readouterr().out
    assert "The archive has no file" in said and "9xyz.cif.gz; the entry may have been superseded." in said
    assert len(asked) == 2
    assert (tmp_path / "data/structures/PDownB/1tst.pdb.gz").exists()


def test_a_refusal_is_not_taken_for_a_missing_entry(archive, lists, tmp_path, capsys):
    """It is reported as a refusal, and the rest is fetched; several in a row end the command."""
    url, asked, _, files = archive
    rows = [f"PDownB,{n}xyz,{n}XYZ,A,10" for n in range(1, 6)]
    files |= {f"/pdb/data/structures/divided/mmCIF/xy/{n}xyz.cif.gz": 403 for n in range(1, 6)}
    command = ["--out", str(tmp_path / "data"), "--archive", url, "--structures"]
    lists([*rows[:2], "PDownB,1tst,1TST,A,160", *rows[2:4]])
    with pytest.raises(SystemExit, match="4 of the entries could not be fetched"):
        fetch.main(command)
    said = capsys.readouterr().out
    assert said.count("The archive refused") == 4 and "1xyz.cif.gz (403)" in said and "has no file" not in said
    assert len(asked) == 5
    with pytest.raises(SystemExit, match="4 of the entries could not be fetched"):  # although one entry is already there
        fetch.main(command)
    lists(rows)
    with pytest.raises(SystemExit, match=r"refused .*3xyz.cif.gz \(403\).*run the command again to go on"):
        fetch.main(command)
    assert len(asked) == 5 + 4 + 3


def test_an_archive_that_does_not_answer_ends_the_command(lists, tmp_path, monkeypatch):
    """After all attempts, one sentence says how to continue."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    lists(["PDownB,1tst,1TST,A,160"])
    with pytest.raises(SystemExit, match="in 4 attempts: .*run the command again to go on"):
        fetch.main(["--out", str(tmp_path / "data"), "--archive", "http://127.0.0.1:9", "--structures"])


@pytest.mark.parametrize("what", ["cif.gz", "map.gz"])
def test_what_is_damaged_does_not_stay(archive, lists, tmp_path, monkeypatch, what):
    """A truncated file, or a proxy's page instead of a file, is never taken for an entry; the next run fetches it again."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    url, _, _, files = archive
    address = next(k for k in files if k.endswith(what))
    whole = files[address]
    lists(maps=["a,EMD-9,1TST,A,3.0,made up,train,yes,yes,,no,"])
    command = ["--out", str(tmp_path / "data"), "--archive", url, "--maps"]
    for damaged in (whole[: len(whole) // 2], b"<html>Log in first.</html>", whole[:500] + b"?" + whole[501:]):
        files[address] = damaged
        with pytest.raises(SystemExit, match="not a complete .gz file.*run the command again"):
            fetch.main(command)
        assert not list((tmp_path / "data/downloads").glob(f"*{what}*"))
    files[address] = whole
    fetch.main(command)


def test_the_rest_of_another_version_is_not_appended(archive, tmp_path):
    """An entry that was revised between two runs is fetched again from its start."""
    url, asked, _, files = archive
    path = tmp_path / "entry.cif.gz"
    (tmp_path / "entry.cif.gz.part").write_bytes(gzip.compress(b"the version of last week")[:30])
    fetch.download(fetch.pdb_url(url, "1TST"), path, wait=0.01)
    assert [r for _, r in asked] == ["bytes=30-", None]
    assert path.read_bytes() == next(v for k, v in files.items() if k.endswith("cif.gz"))


def test_a_file_without_an_entry_is_removed(archive, lists, tmp_path, capsys):
    """An intact .gz file that is not mmCIF is deleted."""
    url, _, _, files = archive
    files[next(k for k in files if k.endswith("cif.gz"))] = gzip.compress(b"no entry")
    lists(["PDownB,1tst,1TST,A,160"])
    with pytest.raises(SystemExit):
        fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--structures"])
    assert "was damaged and has been removed" in capsys.readouterr().out
    assert not list((tmp_path / "data/downloads").iterdir())


def test_every_letter_names_a_chain(archive, lists, tmp_path):
    """Large entries may also have a chain AB, which is neither A nor B."""
    url, _, _, files = archive
    address = next(k for k in files if k.endswith("cif.gz"))
    structure = gemmi.make_structure_from_block(gemmi.cif.read_string(gzip.decompress(files[address]).decode())[0])
    structure[0][1].name = "AB"
    files[address] = gzip.compress(structure.make_mmcif_document().as_string().encode())
    lists(["PDownB,1tst,1TST,AB,160"])
    fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--structures"])
    assert len(read_scatterers(tmp_path / "data/structures/PDownB/1tst.pdb.gz")) == 160


def test_a_model_that_lies_elsewhere_is_refused(archive, lists, tmp_path, capsys):
    """Map and model are compared before the pair is listed."""
    url, _, _, files = archive
    address = next(k for k in files if k.endswith("cif.gz"))
    structure = gemmi.make_structure_from_block(gemmi.cif.read_string(gzip.decompress(files[address]).decode())[0])
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(3, 5, -4)))
    files[address] = gzip.compress(structure.make_mmcif_document().as_string().encode())
    lists(maps=["a,EMD-9,1TST,A,3.0,made up,train,yes,yes,,no,"])
    with pytest.raises(SystemExit):
        fetch.main(["--out", str(tmp_path / "data"), "--archive", url, "--maps"])
    assert "1TST does not lie on EMD-9" in capsys.readouterr().out
    assert not (tmp_path / "data/maps/pairs.csv").exists()


def test_the_lists_name_every_entry_and_what_the_trainer_leaves_out():
    """The committed lists are well formed, have no duplicates, and mark as unused exactly what the trainer does not use."""
    rows = fetch._listed("maps.csv")
    assert {r["id"] for r in rows if r["used"] == "no"} == set(pairs.HOMOLOGUES) | set(pairs.POOR_MODELS)
    for r in rows:
        assert r["split"] in ("train", "validation")
        assert re.fullmatch(r"EMD-\d{4,5}", r["emdb"]) or r["fetch"] == "no"
        assert re.fullmatch(r"[0-9][A-Z0-9]{3}", r["pdb"]) or r["fetch"] == "no"
        assert r["note"] or r["fetch"] == "yes"
    train, validation = ({r["group"] for r in rows if (r["split"], r["used"]) == (s, "yes")} for s in ("train", "validation"))
    assert not train & validation
    structures = fetch._listed("structures.csv")
    assert len(structures) == len({(r["set"], r["name"]) for r in structures}) > 1500
    assert all(re.fullmatch(r"[0-9][A-Z0-9]{3}", r["pdb"]) and int(r["atoms"]) > 0 for r in structures)
