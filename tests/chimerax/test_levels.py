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


@pytest.mark.parametrize("masked", [False, True])
def test_log_names_both_volumes_where_they_differ(session, masked):
    """A masked result holds less density than its input encloses at a low level: all of it is shown, and no box."""
    from chimerax.superem.prediction import _contoured
    from chimerax.superem.volumes import contoured_volume, density_of

    source = add_map(session)
    array = source.full_matrix() ** 2
    result = add_map(session, np.where(array < 0.25, 0, array) if masked else array)
    source.set_parameters(surface_levels=[0.2])
    (line,) = _contoured(session, result, source, density_of(source), "")
    level = result.surfaces[0].level
    before, after = contoured_volume(density_of(source), 0.2), contoured_volume(density_of(result), level)
    if masked:
        assert 0 < level < 1e-5 and after < 0.9 * before
        assert line.endswith(f": they enclose {before:,.0f} and {after:,.0f} Å³.")
    else:
        assert after == pytest.approx(before, rel=1e-3) and line.endswith(f": both enclose {before:,.0f} Å³.")
