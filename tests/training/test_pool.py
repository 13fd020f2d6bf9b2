"""Tests of pools of pairs, and of tiles drawn from them."""

import numpy as np
import pytest
import torch

from training import data, pool, simulate


def test_shards_give_back_their_pairs(filled_pool, atoms):
    """Pairs of any size, with or without trust, are read as they were written."""
    rng = np.random.default_rng(1)
    pair = simulate.simulate(rng, atoms)
    trusted = np.full(pair.lr.shape, 255, np.uint8)
    pool.write_shard(filled_pool / "real-00000.npz", [simulate.Pair(pair.lr, pair.hr, trusted, 3.1)])
    (back,) = pool.read_shard(filled_pool / "real-00000.npz")
    np.testing.assert_array_equal(back.lr, pair.lr)
    np.testing.assert_array_equal(back.trusted, trusted)
    assert back.resolution == pytest.approx(3.1)


def test_a_shard_that_cannot_be_read_holds_up_no_other(filled_pool, capsys):
    """It is reported once, and read when it is complete."""
    whole = (filled_pool / "simulated-00000.npz").read_bytes()
    (filled_pool / "simulated-00001.npz").write_bytes(whole[: len(whole) // 2])
    (filled_pool / "simulated-00002.npz").write_bytes(whole)
    pairs = data.Pool(filled_pool, "simulated")
    assert pairs.refresh() == pairs.refresh() == 6
    assert capsys.readouterr().out.count("simulated-00001.npz cannot be read") == 1
    pool.write_shard(filled_pool / "simulated-00001.npz", pool.read_shard(filled_pool / "simulated-00000.npz"))
    assert pairs.refresh() == 9


def test_tiles_larger_than_a_pair_are_padded(filled_pool):
    """Tiles always have their full size, and mostly hold the molecule."""
    pairs = data.Pool(filled_pool, "simulated")
    assert pairs.refresh() == 3
    rng = np.random.default_rng(0)
    for size in (24, 72):
        lr, hr, trusted, resolution = data.batch(rng, [(pairs, 1.0)], 4, size)
        assert lr.shape == hr.shape == trusted.shape == (4, 1, size, size, size)
        assert resolution.shape == (4,) and 2.5 < resolution.min()
        assert (hr.amax(dim=(1, 2, 3, 4)) > 0.5).sum() >= 2


def test_most_tiles_hold_the_molecule_however_little_of_a_box_it_fills():
    """Some tiles do not, so that the network learns solvent too."""
    hr = np.zeros((80, 80, 80), np.float16)
    hr[6:12, 66:72, 36:42] = 1
    pair = data.to_device(simulate.Pair(hr, hr, None, 3.0))
    rng = np.random.default_rng(0)
    share = np.mean([bool(data.cut_tile(rng, pair, 16)[1].any()) for _ in range(300)])
    assert 0.78 < share < 0.94


def test_turns_are_the_24_proper_rotations():
    """They all differ, and none is a mirror image: handedness is kept."""
    axes = torch.from_numpy(np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij")) - 1)
    seen = set()
    for which in range(24):
        turned = data.turn(axes, which).numpy()
        matrix = np.array([turned[:, 2, 1, 1], turned[:, 1, 2, 1], turned[:, 1, 1, 2]])
        assert np.linalg.det(matrix) == pytest.approx(1)
        seen.add(matrix.tobytes())
    assert len(seen) == 24
