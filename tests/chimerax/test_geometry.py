"""Tests that the result lies on its input in space, for any grid, region and position of the model.

The network is the identity, so the result is the input's density on another grid. Both are read at the same scene positions,
with ChimeraX's own interpolation.
"""

import numpy as np
import pytest

from chimerax_library import open_map
from made_maps import add_map, blobs

TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])  # a proper rotation


def agreement(volume, result, region=None):
    """Return the correlation of both maps at random scene positions in the region, and the share of these in the result's box."""
    from chimerax.geometry import Place

    low, high = (np.array(x) for x in (region or ((0, 0, 0), np.array(volume.data.size) - 1)))
    random = np.random.default_rng(0)
    ijk = low + (high - low) * (0.06 + 0.88 * random.random((20000, 3)))
    points = volume.scene_position.transform_points(volume.data.ijk_to_xyz_transform.transform_points(ijk))
    values, _outside = volume.interpolated_values(points, Place(), out_of_bounds_list=True)
    new, outside = result.interpolated_values(points, Place(), out_of_bounds_list=True)
    return np.corrcoef(values, new)[0, 1], 1 - len(outside) / len(points)


@pytest.mark.parametrize("grid", [
    {},
    {"origin": (-31.5, 12.25, 107.0)},
    {"step": (0.7, 1.1, 1.6), "origin": (5, 6, 7)},
    {"step": (0.6, 0.6, 0.6)},
    {"rotation": TURN.tolist(), "origin": (10, -20, 30)},
    {"rotation": TURN.tolist(), "step": (1.5, 0.9, 1.2), "origin": (3, 2, 1)},
], ids=["plain", "origin", "anisotropic", "fine", "turned", "turned anisotropic"])
@pytest.mark.parametrize("moved", [False, True], ids=["", "moved"])
def test_grids(run, session, weights, grid, moved):
    """The grid has any origin, step and rotation, and the model any position."""
    step = grid.get("step", (1.2, 1.2, 1.2))
    volume = add_map(session, blobs((40, 36, 44), step), **grid)
    if moved:
        run("turn 0.3,0.5,1 73 models #1")
        run("move 12,-7,31 models #1")
    result = run(f"superem #1 model {weights}")
    correlation, inside = agreement(volume, result)
    assert correlation > 0.98 and inside == 1
    assert result.scene_position.same(volume.scene_position)


@pytest.mark.parametrize("grid", ["1A", "input"])
def test_part_comes_out_as_in_the_whole(run, session, monkeypatch, grid):
    """The network sees density around a part, so that cutting it out does not change its result."""
    import torch
    from chimerax.superem.nets.store import Card, Model

    model = Model(torch.nn.AvgPool3d(9, 1, 4), Card("blur", "", {}, 64, 8, "minmax"), "")
    monkeypatch.setattr("chimerax.superem.nets.store.load", lambda _name: model)
    array = blobs((50, 48, 52)) + 0.1
    array[0, 0, 0], array[25, 25, 25] = 0, 9  # so that every part has the same scale
    add_map(session, array)
    whole = run(f"superem #1 grid {grid}")

    def error():
        part = run(f"superem #1 grid {grid} subregion 22,22,22,34,33,32")
        x, y, z = np.rint(np.subtract(part.data.origin, whole.data.origin) / part.data.step).astype(int)
        found = part.full_matrix()
        nz, ny, nx = found.shape
        return np.sqrt(np.mean((found - whole.full_matrix()[z : z + nz, y : y + ny, x : x + nx]) ** 2)) / found.std()

    assert error() < 0.01
    monkeypatch.setattr("chimerax.superem.volumes.CONTEXT", 0.0)
    assert error() > 0.1


@pytest.mark.parametrize("grid", ["1A", "input"])
def test_subregion_and_step(run, session, weights, grid):
    """If the subregion's corner is not a multiple of the step, samples lie where ChimeraX reads them."""
    volume = add_map(session, blobs((60, 56, 64), (0.6, 0.6, 0.6)), step=(0.6, 0.6, 0.6), origin=(4, 5, 6))
    result = run(f"superem #1 model {weights} subregion 7,9,11,52,50,47 step 2 grid {grid}")
    correlation, inside = agreement(volume, result, ((9, 11, 13), (50, 48, 46)))
    assert correlation > 0.98 and inside == 1
    low, high = result.xyz_bounds()
    assert np.all(low >= volume.data.ijk_to_xyz((7, 9, 11)) - np.array(1.71))
    assert np.all(high <= volume.data.ijk_to_xyz((52, 50, 47)) + np.array(1.71))


def test_subregion_that_begins_outside(run, session, volume, weights):
    """A part that begins before the map is cut off there, as in its name; its level is matched in the same box."""
    inside = run(f"superem #1 model {weights} grid input subregion 0,0,0,20,29,29")
    outside = run(f"superem #1 model {weights} grid input subregion -40,0,0,20,29,29")
    assert outside.name == inside.name and np.array_equal(outside.data.size, inside.data.size)
    assert np.array_equal(outside.full_matrix(), inside.full_matrix())
    assert outside.surfaces[0].level == inside.surfaces[0].level


def test_shown_part(run, session, volume, weights):
    """`subregion shown` processes what is shown."""
    run("volume #1 region 5,6,7,30,28,26")
    result = run(f"superem #1 model {weights} subregion shown")
    correlation, inside = agreement(volume, result, ((5, 6, 7), (30, 28, 26)))
    assert correlation > 0.98 and inside == 1
    assert np.prod(result.data.size) < np.prod(volume.data.size)


def test_map_in_a_moved_group(run, session, weights):
    """If the map's group has been moved, the result lies on the map, although it is not in the group."""
    from chimerax.core.models import Model

    group, volume = Model("group", session), add_map(session)
    session.models.add([group])
    session.models.add([volume], parent=group)
    run(f"turn 1,1,0 40 models #{group.id_string}")
    run(f"move 5,6,7 models #{group.id_string}")
    result = run(f"superem #{volume.id_string} model {weights}")
    correlation, inside = agreement(volume, result)
    assert correlation > 0.98 and inside == 1


def test_symmetry_is_kept(run, session, volume, weights):
    """Symmetries assigned to the map are assigned to the result too."""
    from chimerax.geometry import cyclic_symmetry_matrices

    volume.data.symmetries = cyclic_symmetry_matrices(3)
    result = run(f"superem #1 model {weights}")
    assert len(result.data.symmetries) == 3


def test_real_map(run, session, weights, demo_map):
    """The demonstration's deposited map gives the same agreement."""
    volume = open_map(session, demo_map)
    result = run(f"superem #1 model {weights}")
    correlation, inside = agreement(volume, result)
    assert correlation > 0.98 and inside == 1
