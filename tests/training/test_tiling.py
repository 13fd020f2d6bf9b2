"""Tests of the comparison of tilings."""

import numpy as np
from scipy import ndimage
from superem.core.density import DensityMap
from superem.core.tiles import PRESETS
from superem.nets import build, store

from training import tiling


def test_tilings_are_compared_with_a_dense_one(tmp_path):
    """An identity network has no error in any tiling, and every preset is in the table."""
    card = store.Card("same", "unet", {"widths": [8], "depths": [0]}, 32, 4, "robust")
    density = DensityMap(ndimage.gaussian_filter(np.random.default_rng(0).random((40, 40, 40)), 2) - 0.45)
    rows = tiling.compare(density, store.Model(build("unet", **card.options).eval(), card, "0"))
    assert [name.split()[0] for name, _, _ in rows] == ["48/4", *PRESETS]
    assert max(error for _, error, _ in rows) < 1e-4


def test_tilings_are_timed_on_all_tiles(monkeypatch):
    """Empty tiles of a mostly empty map are not skipped, since skipping would distort the times."""
    reports = []

    def enhance(*arguments, **options):
        done = tiling_enhance(*arguments, **options)
        reports.append(done.report)
        return done

    tiling_enhance = tiling.enhance
    monkeypatch.setattr(tiling, "enhance", enhance)
    card = store.Card("same", "unet", {"widths": [8], "depths": [0]}, 16, 4, "robust")
    array = np.zeros((40, 40, 72), np.float32)
    array[12:28, 12:28, 12:28] = ndimage.gaussian_filter(np.random.default_rng(0).random((16, 16, 16)), 1)
    density, model = DensityMap(array), store.Model(build("unet", **card.options).eval(), card, "0")
    assert tiling_enhance(density, model, device="cpu").report.tiles_skipped
    tiling.compare(density, model)
    assert len(reports) > 2 and not any(report.tiles_skipped for report in reports)
