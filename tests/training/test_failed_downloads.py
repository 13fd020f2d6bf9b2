"""Tests of downloads that break off, are refused, missing or damaged, from a small archive served on this machine."""

import gzip

import pytest

from training import fetch


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
