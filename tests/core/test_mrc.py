"""Tests of map files: they are read as in ChimeraX, and written completely."""

import gzip
import os
import sys
import tracemalloc

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from superem.core import memory, mrc
from superem.core.density import DensityMap, MapError
from superem.core.mrc import read_mrc, write_mrc


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


def write(path, array, voxel=1.5, **fields):
    """Write a map file with mrcfile, then set header fields."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        file.set_volume()
        file.voxel_size = voxel
        for name, value in fields.items():
            record, _, part = name.partition("_")
            if part:
                setattr(getattr(file.header, record), part, value)
            else:
                setattr(file.header, name, value)
    return path


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_modes(tmp_path, kind):
    array = (np.arange(120) - (0 if kind is np.uint16 else 60)).reshape(4, 5, 6).astype(kind)
    density = read_mrc(write(tmp_path / "a.mrc", array))
    assert density.array.dtype == np.float32 and np.array_equal(density.array, array.astype(np.float32))
    assert density.step == (1.5, 1.5, 1.5) and density.name == "a.mrc"


@pytest.mark.parametrize("stamp, value", [(b"IMOD\0\0\0\0", 255), (b"IMOD\6\0\0\0", 255), (b"IMOD\7\0\0\0", -1), (bytes(8), -1)])
def test_unsigned_bytes_of_imod(tmp_path, stamp, value):
    """Bytes are unsigned if IMOD's stamp is in the header, and the first of its flags does not say that they are signed."""
    array = np.full((4, 5, 6), -1, np.int8)
    path = write(tmp_path / "a.mrc", array, extra2=np.void(bytes(40) + stamp + bytes(36)))
    assert np.all(read_mrc(path).array == value)


@pytest.mark.parametrize("kind, packed", [("<f4", False), (">i2", False), ("<f4", True)])
def test_symmetry_operators_that_are_not_there(tmp_path, kind, packed):
    """Some old EMDB entries announce them and lack them, as ChimeraX's reader knows; one byte less is damage."""
    array = np.arange(120).reshape(4, 5, 6).astype(kind)
    path = write(tmp_path / "a.map", array, nsymbt=80)
    data = path.read_bytes()
    for content in (data, data[:-1]):
        path.write_bytes(gzip.compress(content) if packed else content)
        if content is data:
            assert np.array_equal(read_mrc(path).array, array)
        else:
            with pytest.raises(MapError, match="cut short"):
                read_mrc(path)


def test_big_endian(tmp_path, array):
    path = write(tmp_path / "a.mrc", array.astype(">f4"), voxel=1.1)
    assert mrcfile.open(path).header.nx.dtype.byteorder == ">"
    density = read_mrc(path)
    assert np.array_equal(density.array, array) and density.step == pytest.approx((1.1,) * 3)


def test_gzip(tmp_path, array):
    plain = write(tmp_path / "a.map", array, nxstart=3)
    packed = tmp_path / "a.map.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    density = read_mrc(packed)
    assert np.array_equal(density.array, array) and density.origin == (4.5, 0, 0)


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1), (3, 1, 2), (1, 3, 2)])
def test_permuted_axes(tmp_path, axes):
    """The marked voxel is read at its x, y, z for any order of axes in the file; so is nstart."""
    c, r, s = 4, 2, 1
    data = np.zeros((3, 5, 6), np.float32)
    data[s, r, c] = 1
    counts = dict(zip(axes, (6, 5, 3), strict=True))  # by axis; 1 is x
    path = write(tmp_path / "a.mrc", data, mapc=axes[0], mapr=axes[1], maps=axes[2], nxstart=10, nystart=20, nzstart=30,
                 mx=counts[1], my=counts[2], mz=counts[3],
                 cella_x=counts[1] * 1.0, cella_y=counts[2] * 1.1, cella_z=counts[3] * 1.2)
    density = read_mrc(path)
    assert density.step == pytest.approx((1.0, 1.1, 1.2))
    assert density.shape == (counts[3], counts[2], counts[1])
    k, j, i = (int(n[0]) for n in density.array.nonzero())
    at = dict(zip(axes, ((c, 10), (r, 20), (s, 30)), strict=True))
    assert (i, j, k) == (at[1][0], at[2][0], at[3][0])
    assert density.origin == pytest.approx((at[1][1] * 1.0, at[2][1] * 1.1, at[3][1] * 1.2))


def test_axes_that_are_not_set_are_xyz(tmp_path, array):
    assert np.array_equal(read_mrc(write(tmp_path / "a.mrc", array, mapc=0, mapr=0, maps=0)).array, array)


@pytest.mark.parametrize("name, origin, start, wanted", [
    ("a.mrc", (7, 8, 9), (1, 2, 3), (7, 8, 9)),  # the ORIGIN record if it is not zero
    ("a.mrc", (0, 0, 0), (1, 2, 3), (1.5, 3, 4.5)),  # otherwise NSTART
    ("a.mrc.gz", (7, 8, 9), (1, 2, 3), (7, 8, 9)),
    ("a.map", (7, 8, 9), (1, 2, 3), (1.5, 3, 4.5)),  # CCP4 files have no ORIGIN
    ("a.ccp4", (7, 8, 9), (0, 0, 0), (0, 0, 0)),
    ("a", (7, 8, 9), (1, 2, 3), (7, 8, 9)),
    ("a.mrc", (3e9, 0, 0), (1, 2, 3), (1.5, 3, 4.5)),  # invalid value
    ("a.mrc", (np.nan, 0, 0), (1, 2, 3), (1.5, 3, 4.5)),
    ("a.mrc", (0, 0, 0), (10**9, 2, 3), (0, 0, 0)),
    ("a.mrc", (0, 0, 0), (61, 2, 3), (0, 0, 0)),  # more than ten times the map's size away
    ("a.mrc", (0, 0, 0), (60, 2, 3), (90, 3, 4.5)),
])
def test_origin_is_chimerax_s(tmp_path, array, name, origin, start, wanted):
    path = write(tmp_path / "plain.mrc", array, nxstart=start[0], nystart=start[1], nzstart=start[2],
                 origin_x=origin[0], origin_y=origin[1], origin_z=origin[2])
    data = path.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_mrc(tmp_path / name).origin == pytest.approx(wanted)


SIZES = {"huge": (60000, 60000, 60000), "nothing": (0, 5, 4), "negative": (-6, 5, 4)}


def damaged(path, array, kind):
    """Write a file that is damaged in one way."""
    data = write(path, array).read_bytes()
    if kind == "empty":
        data = b""
    elif kind == "text":
        data = b"ATOM      1  N   ALA A   1\n" * 100
    elif kind == "cut":
        data = data[:1100]
    elif kind == "cut gzip":
        data = gzip.compress(data)[:200]
    elif kind == "bad gzip":
        data = b"\x1f\x8b" + b"x" * 200
    elif kind in SIZES:
        data = np.array(SIZES[kind], "<i4").tobytes() + data[12:]
    path.write_bytes(data)


@pytest.mark.parametrize("kind, words", [
    ("empty", "damaged or cut short"), ("text", "lacks the word MAP"), ("cut", "less density than its header says"),
    ("cut gzip", "damaged or cut short"), ("bad gzip", "damaged or cut short"), ("huge", "memory|cut short"),
    ("nothing", "0 x 5 x 4 voxels by its header"), ("negative", "damaged"),
])
def test_damaged_files(tmp_path, array, kind, words):
    damaged(tmp_path / "a.mrc", array, kind)
    with pytest.raises(MapError, match=words):
        read_mrc(tmp_path / "a.mrc")


def test_a_file_that_does_not_fit_in_memory_is_refused_before_it_is_read(tmp_path, array, monkeypatch):
    """There is enough memory for float32; other data types are converted, and so are in memory twice."""
    monkeypatch.setattr(memory, "free_memory", lambda: 4 * array.size)
    assert read_mrc(write(tmp_path / "a.mrc", array)).shape == array.shape
    write(tmp_path / "a.mrc", array.astype(np.int16))
    monkeypatch.setattr(mrc.mrcfile.mrcinterpreter.MrcInterpreter, "_read_data", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(MapError, match="a.mrc has 6 x 5 x 4 voxels by its header and needs .* GB of memory, but .* are free"):
        read_mrc(tmp_path / "a.mrc")


@pytest.mark.parametrize("fields, words", [
    ({"cellb_beta": 100}, "skewed cell"),
    ({"cella_x": 0}, "no voxel size"),
    ({"cella_x": np.nan}, "no voxel size"),
    ({"mx": 0}, "no voxel size"),
    ({"cella_x": 6e4}, "voxel size of 1e\\+04"),
    ({"mode": 4}, "mode 4"),
    ({"mode": 77}, "mode 77"),
    ({"ispg": 401, "mz": 2}, "a stack of volumes"),
    ({"ispg": 401, "mz": 0}, "damaged"),
    ({"ispg": 0, "mz": 1}, "stack of images"),
])
def test_headers_that_are_no_single_map(tmp_path, array, fields, words):
    with pytest.raises(MapError, match=words):
        read_mrc(write(tmp_path / "a.mrc", array, **fields))


def test_single_image(tmp_path, array):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array[0])
    with pytest.raises(MapError, match="an image"):
        read_mrc(tmp_path / "a.mrc")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MapError, match="There is no file"):
        read_mrc(tmp_path / "none.mrc")
    with pytest.raises(MapError, match="cannot be read"):
        read_mrc(tmp_path)


def test_a_name_that_the_system_refuses(tmp_path):
    with pytest.raises(MapError, match="cannot be read"):
        read_mrc(tmp_path / ("x" * 300 + ".mrc"))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there have no names in folders")
def test_pipe(tmp_path):
    """It is refused before it is opened, which would wait for someone to write to it."""
    os.mkfifo(tmp_path / "a.mrc")
    with pytest.raises(MapError, match="is a pipe; SuperEM needs a file"):
        read_mrc(tmp_path / "a.mrc")


def test_maps_of_chimerax_have_space_group_0_and_angles_may_be_unset(tmp_path, array):
    path = write(tmp_path / "a.mrc", array, ispg=0, cellb_alpha=0, cellb_beta=0, cellb_gamma=0)
    assert read_mrc(path).shape == (4, 5, 6)


def test_voxel_size_can_be_given(tmp_path, array):
    density = read_mrc(write(tmp_path / "a.mrc", array, cella_x=0, nxstart=2), voxel_size=2.0)
    assert density.step == (2, 2, 2) and density.origin == (4, 0, 0)


@pytest.mark.parametrize("origin, step, start", [
    ((3, -4, 6), (1, 2, 1.5), (3, -2, 4)),
    ((3.25, -4, 6), (1, 1, 1), (0, 0, 0)),
    ((-119.6, 131.3, 0), (1.3, 1.3, 1.3), (-92, 101, 0)),
])
def test_written_file(tmp_path, array, origin, step, start):
    path = tmp_path / "out.mrc"
    write_mrc(path, DensityMap(array, origin, step), ["first", "Å" * 100])
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        header = file.header
        assert int(header.mode) == 2 and int(header.ispg) == 1 and header.map.item() == b"MAP "
        assert (int(header.nxstart), int(header.nystart), int(header.nzstart)) == start
        assert [float(header.cella[a]) for a in "xyz"] == pytest.approx([6 * step[0], 5 * step[1], 4 * step[2]])
        assert int(header.nlabl) == 2 and header.label[0] == b"first" and header.label[1] == b"?" * 80
        assert float(header.dmax) == array.max() and float(header.rms) == pytest.approx(array.std())
    back = read_mrc(path)
    assert np.array_equal(back.array, array)
    assert back.origin == pytest.approx(origin) and back.step == pytest.approx(step)


def test_writing_takes_no_second_copy_of_the_map(tmp_path):
    """After the work, memory may be short."""
    array = np.random.default_rng(0).normal(size=(60, 100, 100)).astype(np.float32) + 5
    tracemalloc.start()
    write_mrc(tmp_path / "a.mrc", DensityMap(array))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * array.nbytes
    with mrcfile.open(tmp_path / "a.mrc") as file:
        assert float(file.header.dmean) == pytest.approx(5, rel=1e-3) and float(file.header.rms) == pytest.approx(1, rel=1e-2)


def test_a_file_named_gz_is_compressed_alike_every_time(tmp_path, array, monkeypatch):
    packed, plain = tmp_path / "out.mrc.gz", tmp_path / "out.mrc"
    write_mrc(plain, DensityMap(array))
    write_mrc(packed, DensityMap(array))
    first = packed.read_bytes()
    assert gzip.decompress(first) == plain.read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_mrc(packed, DensityMap(array))
    assert packed.read_bytes() == first


def test_rotation_survives_as_chimerax_writes_it(tmp_path, array):
    rotation = Rotation.from_euler("xyz", (20, 30, 40), degrees=True).as_matrix()
    write_mrc(tmp_path / "a.mrc", DensityMap(array, (1, 2, 3), rotation=rotation))
    assert mrcfile.open(tmp_path / "a.mrc").header.label[0].startswith(b"Chimera rotation: ")
    assert np.abs(read_mrc(tmp_path / "a.mrc").rotation - rotation).max() < 1e-6


@pytest.mark.parametrize("values", [b"0 0 0 30", b"1 0 0", b"1 0 zero 30"])
def test_rotation_that_is_none_is_said(tmp_path, array, values):
    """An error is better than a map in the wrong place."""
    write_mrc(tmp_path / "a.mrc", DensityMap(array))
    with mrcfile.open(tmp_path / "a.mrc", "r+") as file:
        file.header.label[0] = b"Chimera rotation: " + values
    with pytest.raises(MapError, match="gives no rotation"):
        read_mrc(tmp_path / "a.mrc")
