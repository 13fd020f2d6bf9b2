"""Tests of the progress of a prediction, and of cancelling it."""

import itertools

import pytest
import torch
from superem.core.predict import Cancelled, enhance
from superem.core.tiles import Tiling

from tests.core.conftest import noise


def test_progress_counts_every_tile_and_stops_the_work(make_model):
    ticks = []
    enhance(noise((60, 60, 60)), make_model(), skip_empty=False, device="cpu", progress=lambda *tick: ticks.append(tick))
    total = ticks[0][1]
    assert [n for n, _ in itertools.groupby(ticks)] == [(n, total) for n in range(total + 1)]  # one tile at a time on a CPU

    network, runs = torch.nn.Identity(), []
    network.register_forward_hook(lambda *_: runs.append(1))
    with pytest.raises(Cancelled):
        enhance(noise((60, 60, 60)), make_model(network), skip_empty=False, device="cpu", progress=lambda done, total: done < 2)
    assert len(runs) == 2


def test_cancel_is_heard_after_the_last_tile(make_model):
    """Filters, reliability and resampling to the input's grid take time on a large map."""
    model = make_model(blur=[[2.0, 0.2], [20.0, 0.2]], reliability=[[0.0, 0.0], [1.0, 1.0]])
    told = []
    enhance(noise((40, 40, 40)), model, skip_empty=False, device="cpu", reliability=True, grid="input",
            progress=lambda *tick: told.append(tick))
    late = [tick for tick in told if tick[0] == tick[1]]
    assert len(late) == 11  # last tile, four in filters, four for reliability, two grids
    for most in range(len(late)):
        heard = iter(range(most))
        with pytest.raises(Cancelled):
            enhance(noise((40, 40, 40)), model, skip_empty=False, device="cpu", reliability=True, grid="input",
                    progress=lambda done, total, heard=heard: done < total or next(heard, None) is not None)


def test_cancel_is_heard_between_two_layers(make_model):
    """A tile can take seconds on a slow machine; cancelling does not wait for the rest of it."""
    layers = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(9)))
    counted, heard = [], []
    layers[8].register_forward_hook(lambda *_: counted.append(1))

    def stop_soon(done, total):
        heard.append(done)
        return len(heard) < 4

    with pytest.raises(Cancelled):
        enhance(noise((9, 9, 9)), make_model(layers), skip_empty=False, device="cpu", progress=stop_soon)
    assert heard == pytest.approx([0, 0, 1 / 9, 2 / 9]) and not counted
    assert not layers[0]._forward_pre_hooks  # no hooks are left on a network that is used again


def test_progress_within_a_batch(make_model):
    """Progress counts layers over all orientations and tiles of a batch, and never exceeds the total."""
    layer, ticks = torch.nn.Identity(), []
    layers = torch.nn.Sequential(layer, torch.nn.Identity(), layer, layer)  # one of the two layers is used three times
    enhance(noise((9, 9, 60)), make_model(layers), tiling=Tiling(32, 16, 4), skip_empty=False, device="cpu",
            batch_size=2, rotations=4, progress=lambda *tick: ticks.append(tick))
    total = ticks[0][1]
    assert total == 4 and [done for done, _ in ticks[:4]] == [0, 0, 0.25, 0.5]
    assert max(done for done, _ in ticks) == total and all(a[0] <= b[0] for a, b in itertools.pairwise(ticks))
