"""Tests of the command line's levels and of the surface volumes that match them, against ChimeraX's own."""

import numpy as np
import pytest

from made_maps import add_map, blobs


def test_volume_is_that_of_the_surface(session, demo_map):
    """The volumes agree within 2 to 12 per cent depending on the level, better than the volume of counted voxels."""
    from chimerax.superem.core.levels import enclosed_volume, surface_volume
    from chimerax.superem.core.mrc import read_mrc
    from chimerax.superem.volumes import contoured_volume

    density = read_mrc(demo_map)
    for share, error in ((0.03, 0.02), (0.01, 0.05), (0.003, 0.12)):
        level = float(np.quantile(density.array, 1 - share))
        surface = contoured_volume(density, level)
        assert surface_volume(density.array, level, density.step) == pytest.approx(surface, rel=error)
        assert enclosed_volume(density.array, level, density.step) > (1 + 2 * error) * surface


@pytest.mark.parametrize("share", [1, 0.004])
def test_level_that_is_not_given_is_that_at_which_a_map_opens(session, share):
    """Also where most of the box is zero, as in a chain that was zoned out of a large map."""
    from chimerax.superem.cli import _contour_level
    from chimerax.superem.volumes import density_of

    array = blobs()
    array[array < np.quantile(array, 1 - share)] = 0
    volume = add_map(session, array)
    density, (opened,) = density_of(volume), volume.initial_surface_levels()[0]
    assert _contour_level(density, None) == pytest.approx(opened, rel=1e-6) and opened > 0
