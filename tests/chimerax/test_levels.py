"""The core's volumes inside surfaces, by which the command line matches levels, against ChimeraX's own surfaces."""

import numpy as np
import pytest


def test_volume_is_that_of_the_surface(session, demo_map):
    """Within 5 per cent at the level at which a map opens, and nearer than counted voxels at a higher one."""
    from chimerax.superem.core.levels import enclosed_volume, surface_volume
    from chimerax.superem.core.mrc import read_mrc
    from chimerax.superem.volumes import contoured_volume

    density = read_mrc(demo_map)
    for share, error in ((0.03, 0.02), (0.01, 0.05), (0.003, 0.12)):
        level = float(np.quantile(density.array, 1 - share))
        surface = contoured_volume(density, level)
        assert surface_volume(density.array, level, density.step) == pytest.approx(surface, rel=error)
        assert enclosed_volume(density.array, level, density.step) > (1 + 2 * error) * surface
