"""Tests of writing: a file is complete, or does not appear."""

import sys

import mrcfile
import numpy as np
import pytest
from superem.core.density import DensityMap, MapError
from superem.core.files import replaced
from superem.core.mrc import read_mrc, write_mrc


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no such permissions")
def test_a_replaced_file_keeps_its_permissions(tmp_path, array):
    path = tmp_path / "map.mrc"
    write_mrc(path, DensityMap(array))
    path.chmod(0o600)
    write_mrc(path, DensityMap(array))
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_replaced_whole_or_kept(tmp_path, array, monkeypatch):
    path = tmp_path / "a.mrc"
    write_mrc(path, DensityMap(array))
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mrcfile.mrcfile.MrcFile, "set_volume", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_mrc(path, DensityMap(array + 1))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.mrc"]
    write_mrc(path, DensityMap(array + 1))
    assert np.allclose(read_mrc(path).array, array + 1)


def test_two_runs_that_write_one_file(tmp_path):
    """Even with the same process id, as in two containers, they do not write into each other's temporary file."""
    path = tmp_path / "a.mrc"
    with replaced(path) as one, replaced(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_folder_that_is_not_there(tmp_path, array):
    (tmp_path / "file").touch()
    for folder in ("none", "file"):
        with pytest.raises(MapError, match="cannot be written"):
            write_mrc(tmp_path / folder / "a.mrc", DensityMap(array))


def test_the_longest_name_that_a_file_may_have(tmp_path, array):
    path = tmp_path / ("a" * 251 + ".mrc")
    write_mrc(path, DensityMap(array))
    assert np.array_equal(read_mrc(path).array, array)
