"""Tests that tiles cover every voxel, with weights that sum to 1."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from superem.core import tiles
from superem.core.tiles import Tiling


@st.composite
def tilings(draw):
    """Draw any tiling that leaves no gaps."""
    margin = draw(st.integers(0, 6))
    core = draw(st.integers(1, 24))
    return Tiling(core + 2 * margin, draw(st.integers(max(1, core // 4), core)), margin, draw(st.sampled_from(["taper", "mean"])))


shapes = st.tuples(*[st.integers(1, 40)] * 3)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, tiling=tilings())
def test_weights_sum_to_one_everywhere_and_to_zero_in_margins(shape, tiling):
    plan = tiles.plan(shape, tiling)
    for length, starts, windows in zip(shape, plan.starts, plan.windows, strict=True):
        total = np.zeros(length)
        for start, window in zip(starts, windows, strict=True):
            used = np.flatnonzero(window)
            assert used.min() >= tiling.margin and used.max() < len(window) - tiling.margin
            total[start + used] += window[used]
        assert np.allclose(total, 1, atol=1e-6)
    assert max(plan.size) <= tiling.size


def test_tapered_tiles_fade_into_their_neighbours():
    """Predictions near a tile's margin are the least certain, so they weigh least; there is no seam where tiles disagree."""
    plan = tiles.plan((8, 8, 100), Tiling(48, 28, 4))
    first, second = plan.windows[2][:2]
    overlap = plan.size[2] - 2 * 4 - (plan.starts[2][1] - plan.starts[2][0])
    rise, fall = second[4 : 4 + overlap], first[-4 - overlap : -4]
    assert overlap == 12 and np.allclose(first[4 : -4 - overlap], 1)
    for window in (rise, fall[::-1]):
        assert np.all(np.diff(window) > 0) and 0 < window[0] < 0.01 and window[5] < 0.5 < window[6]


@settings(max_examples=40, deadline=None)
@given(shape=shapes, tiling=tilings(), seed=st.integers(0, 99), mirror=st.booleans())
def test_cut_and_blended_tiles_give_the_map_back(shape, tiling, seed, mirror):
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    plan = tiles.plan(shape, tiling)
    assume(len(plan) <= 4000)  # more tiles take seconds, and test nothing new
    out = np.zeros_like(array)
    for index in np.ndindex(plan.counts):
        tiles.blend(out, tiles.cut(array, plan, index, mirror), plan, index)
    assert np.abs(out - array).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(7, 40)] * 3), margin=st.integers(0, 6))
def test_beyond_the_border_is_nothing_or_the_mirror_image(shape, margin):
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    plan = tiles.plan(shape, Tiling(40 + 2 * margin, 40, margin, "mean"))
    inner = tuple(slice(0, n + 2 * margin) for n in shape)
    assert np.array_equal(tiles.cut(array, plan, (0, 0, 0))[inner], np.pad(array, margin))
    assert np.array_equal(tiles.cut(array, plan, (0, 0, 0), True)[inner], np.pad(array, margin, mode="reflect"))


def test_only_a_map_that_nobody_masked_is_noisy():
    noise = 0.1 * np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32)
    assert tiles.noisy(noise)
    noise[:, :, :16] = 0
    assert not tiles.noisy(noise)
    assert not tiles.noisy(np.zeros((30, 30, 30), np.float32))


@settings(max_examples=60, deadline=None)
@given(shape=shapes, tiling=tilings(), data=st.data())
def test_no_tile_that_touches_density_is_empty(shape, tiling, data):
    at = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    array = np.zeros(shape, np.float32)
    array[at] = 1
    plan = tiles.plan(shape, tiling)
    mask = tiles.occupied(array, plan)
    for index in np.ndindex(plan.counts):
        low = np.array([s[n] for s, n in zip(plan.starts, index, strict=True)])
        assert mask[index] == bool(np.all(low <= at) and np.all(at < low + plan.size))


def test_noise_is_left_out_and_weak_density_in_it_is_not():
    """A sphere as weak as one standard deviation of the noise is found, although no single voxel stands out."""
    rng = np.random.default_rng(0)
    array = rng.normal(scale=0.1, size=(96, 96, 96)).astype(np.float32)
    k, j, i = np.ogrid[:96, :96, :96]
    weak = (k - 24) ** 2 + (j - 24) ** 2 + (i - 24) ** 2 < 8**2
    strong = (k - 70) ** 2 + (j - 70) ** 2 + (i - 70) ** 2 < 12**2
    array += np.where(weak, 0.1, 0) + np.where(strong, 1, 0)
    plan = tiles.plan(array.shape, Tiling(32, 24, 0))
    mask = tiles.occupied(array, plan)
    assert mask[0, 0, 0] and mask[2, 2, 2]
    assert mask.sum() < mask.size / 2


def test_paper_tiling_is_the_paper_s():
    plan = tiles.plan((33, 33, 33), tiles.tiling_for("paper", 64, 8))
    assert plan.size == (25, 25, 25) and len(plan) == 27
    assert [list(s) for s in plan.starts] == [[0, 4, 8]] * 3
    plan = tiles.plan((34, 26, 20), tiles.PAPER)  # tiles do not fit evenly, but keep their size and stride
    assert plan.size == (25, 25, 25) and [list(s) for s in plan.starts] == [[0, 4, 8, 12], [0, 4], [0]]


def test_presets_follow_the_model_s_tile_and_margin():
    assert tiles.tiling_for("normal", 64, 8) == Tiling(64, 40, 8)
    assert tiles.tiling_for("fast", 64, 8) == Tiling(64, 48, 4)
    assert tiles.tiling_for("normal", 25, 4) == Tiling(25, 13, 4)
    with pytest.raises(ValueError, match="normal, fast, paper"):
        tiles.tiling_for("slow", 64, 8)


def test_tiles_shrink_to_the_map_in_steps_that_networks_like():
    plan = tiles.plan((20, 90, 200), Tiling(64, 40, 8))
    assert all(size % 8 == 0 for size in plan.size)
    assert plan.size[0] == 40 and plan.counts[0] == 1  # 20 voxels and two margins, rounded up to a multiple of 8


@pytest.mark.parametrize("wrong", [(10, 11), (10, 5, 3), (10, 0), (10, 2, 0, "square")])
def test_tilings_that_would_leave_gaps(wrong):
    with pytest.raises(ValueError):
        Tiling(*wrong)
