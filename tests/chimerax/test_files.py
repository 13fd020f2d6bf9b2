"""Tests that the command line places map files where ChimeraX does."""

import itertools

import mrcfile
import numpy as np
import pytest

KINDS = ("i1", "i2", "u2", "f2", "f4", ">i2", ">f4")
AXES = list(itertools.permutations((1, 2, 3)))


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a map file with a random order of axes, voxel size, start and origin."""

    def made(seed):
        random = np.random.default_rng(seed)
        path = tmp_path / f"map{random.choice(['.mrc', '.map', '.ccp4'])}"
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data((9 * random.normal(size=random.integers(2, 9, 3))).astype(random.choice(KINDS)))
            file.set_volume()
            header = file.header
            header.mapc, header.mapr, header.maps = axes = AXES[seed % 6]
            counts = dict(zip(axes, file.data.shape[::-1], strict=True))
            header.mx, header.my, header.mz = [counts[axis] + random.integers(3) for axis in (1, 2, 3)]
            for axis, count in zip("xyz", (header.mx, header.my, header.mz), strict=True):
                header.cella[axis] = count * random.uniform(0.5, 3)
            if random.random() < 0.7:
                header.nxstart, header.nystart, header.nzstart = random.integers(-20, 20, 3)
            if random.random() < 0.6:
                header.origin.x, header.origin.y, header.origin.z = random.uniform(-99, 99, 3)
            if random.random() < 0.2:
                file.set_extended_header(np.zeros(160, "V1"))
        return path

    return made


@pytest.mark.parametrize("seed", range(36))
def test_density_and_place_are_those_of_chimerax_s_reader(session, write, seed):
    from chimerax.map_data.mrc.mrc_grid import MRCGrid
    from chimerax.superem.core.mrc import read_mrc

    path = write(seed)
    wanted, found = MRCGrid(str(path), "mrc" if path.suffix == ".mrc" else "ccp4"), read_mrc(path)
    assert np.array_equal(found.array, wanted.matrix())
    assert found.origin == pytest.approx(wanted.origin, abs=1e-3) and found.step == pytest.approx(wanted.step)


def test_a_written_map_is_read_by_chimerax_where_it_was_put(session, tmp_path):
    from chimerax.map_data.mrc.mrc_grid import MRCGrid
    from chimerax.superem.core.density import DensityMap
    from chimerax.superem.core.mrc import write_mrc

    rotation = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    for origin, turn in (((3.0, -4.0, 6.0), np.eye(3)), ((3.37, -120.4, 0.06), np.eye(3)), ((1.0, 2.0, 3.0), rotation)):
        write_mrc(tmp_path / "a.mrc", DensityMap(array, origin, (1.0, 1.1, 1.2), turn))
        grid = MRCGrid(str(tmp_path / "a.mrc"), "mrc")
        assert np.array_equal(grid.matrix(), array) and grid.step == pytest.approx((1.0, 1.1, 1.2))
        assert grid.origin == pytest.approx(origin, abs=1e-4) and np.abs(np.array(grid.rotation) - turn).max() < 1e-6
