"""Tests of the whole prediction, with networks whose output is known."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, ndimage
from superem.core import devices, memory, predict
from superem.core.density import DensityMap, MapError
from superem.core.normalise import NORMALISATIONS
from superem.core.predict import enhance
from superem.core.resample import resample
from superem.core.tiles import Tiling
from superem.nets.store import load

from tests.core.conftest import noise


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 45)] * 3),
    step=st.one_of(st.just((1.0, 1.0, 1.0)), st.tuples(*[st.floats(0.7, 1.6)] * 3)),
    origin=st.tuples(*[st.floats(-30, 30)] * 3),
    tiling=st.sampled_from(["normal", "fast", Tiling(25, 8, 0, "mean"), Tiling(16, 5, 3), Tiling(24, 16, 4)]),
    rotations=st.sampled_from(predict.ROTATION_COUNTS),
    batch_size=st.sampled_from([None, 1, 3, 100]),
    seed=st.integers(0, 99),
)
def test_identity_gives_the_resampled_map(make_model, shape, step, origin, tiling, rotations, batch_size, seed):
    """The values agree in all voxels, borders included, for any shape, tiling, batch size and number of orientations."""
    density = noise(shape, seed, step=step, origin=origin)
    done = enhance(density, make_model(), tiling=tiling, rotations=rotations, batch_size=batch_size, skip_empty=False,
                   device="cpu")
    wanted = resample(density)
    assert done.density.origin == wanted.origin and done.density.step == wanted.step
    assert np.abs(done.density.array - wanted.array).max() < 2e-5 * np.abs(wanted.array).max()
    assert done.report.tiles_skipped == 0


@pytest.mark.parametrize("grid", predict.GRIDS)
def test_values_far_from_zero_keep_their_digits(make_model, grid):
    """The result for 1000 ± 1 is that for ± 1 plus 1000, to single precision at 1000."""
    far = noise((30, 27, 33)).array / 4 + np.float32(1000)
    found, wanted = (enhance(DensityMap(array, step=(1.3, 1.3, 1.3)), make_model(torch.nn.Tanh()), grid=grid, device="cpu")
                     for array in (far, far - np.float32(1000)))
    assert np.abs(found.density.array - 1000 - wanted.density.array).max() < 1e-4


def test_the_paper_s_tiling_too(make_model):
    density = noise((30, 27, 33))
    done = enhance(density, make_model(), tiling="paper", skip_empty=False, device="cpu")
    assert np.abs(done.density.array - density.array).max() < 1e-4
    assert done.report.tiles_run == 3 * 2 * 3


def test_a_network_that_looks_around_is_stitched_without_a_seam(make_model):
    """A blur that reaches 3 voxels, with a margin of 4, gives the same as on the whole map at once."""
    blur = torch.nn.AvgPool3d(7, stride=1, padding=3)
    density = DensityMap(np.random.default_rng(0).random((50, 40, 60)))
    done = enhance(density, make_model(blur, normalisation="minmax"), skip_empty=False, device="cpu")
    with torch.inference_mode():
        wanted = blur(torch.from_numpy(density.array)[None, None])[0, 0].numpy()
    inner = (slice(3, -3),) * 3  # the padding is the lowest density, not exactly zero
    assert np.abs(done.density.array - wanted)[inner].max() < 1e-4


def test_solvent_noise_goes_on_beyond_the_border_and_a_masked_map_does_not(make_model):
    """Beyond the box, the network sees the noise mirrored, or zero if the map's solvent is zero."""
    blur = torch.nn.AvgPool3d(7, stride=1, padding=3)
    noise = DensityMap(np.random.default_rng(0).normal(size=(40, 40, 40)))
    masked = DensityMap(np.where(np.arange(40) < 12, noise.array, 0))
    for density, mode in ((noise, "reflect"), (masked, "constant")):
        scale = NORMALISATIONS["robust"](density.array)
        wide = np.pad(scale.apply(density.array), 3, mode=mode)
        wanted = torch.nn.AvgPool3d(7, stride=1)(torch.from_numpy(wide)[None, None])[0, 0].numpy()
        done = enhance(density, make_model(blur), device="cpu")
        assert np.abs(scale.apply(done.density.array) - wanted).max() < 1e-4


def test_empty_tiles_are_skipped_and_zero_and_nothing_near_density_is(make_model, make_blob):
    density = make_blob((100, 90, 80), (0, 0, 0), (1, 1, 1), (20, 20, 20))
    density.array[density.array < 1e-3] = 0
    seen = []

    class Counts(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    done = enhance(density, make_model(Counts()), device="cpu")
    assert done.report.tiles_skipped > done.report.tiles_run == sum(seen) > 0
    assert np.abs(done.density.array - density.array).max() < 0.02 * density.array.max()
    assert np.all(done.density.array[60:, 60:, 60:] == 0)


def test_averaging_over_orientations_makes_the_result_turn_with_the_map(make_model):
    """With an asymmetric network, only the mean over all 24 orientations rotates with the map."""
    torch.manual_seed(0)
    lopsided = torch.nn.Conv3d(1, 1, 3, padding=1)
    density = noise((32, 32, 32))
    turned = DensityMap(np.rot90(density.array, axes=(0, 2)))
    settings_ = dict(skip_empty=False, device="cpu", tiling=Tiling(48, 40, 4))

    def difference(rotations):
        a = enhance(density, make_model(lopsided), rotations=rotations, **settings_).density.array
        b = enhance(turned, make_model(lopsided), rotations=rotations, **settings_).density.array
        return np.abs(np.rot90(a, axes=(0, 2)) - b).max()

    assert difference(24) < 1e-4 < 0.01 < difference(1)


def test_bfloat16_changes_next_to_nothing(monkeypatch, make_blob):
    """For the bundled model, detail differs by at most two hundredths, and values are not rounded to 8 bits."""
    density = make_blob((40, 40, 40), (0, 0, 0), (1, 1, 1), (20, 20, 20))
    density.array[:] += 0.1 * noise((40, 40, 40)).array
    model, results = load("unet"), []
    for short in (False, True):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda short=short: short)
        done = enhance(density, model, device="cpu", rotations=1)
        assert done.report.device.endswith(", in bfloat16") == short
        results.append(done.density.array)
    plain, short = results
    detail = (plain - density.array).std()
    assert 1e-5 * detail < (short - plain).std() < 0.02 * detail
    assert np.corrcoef(plain.ravel(), short.ravel())[0, 1] > 0.9999


def test_output_on_the_grid_of_the_input(make_model, make_blob):
    density = make_blob((30, 33, 27), (5.2, -3.1, 0.4), (1.2, 1.1, 1.3), (20, 12, 18))
    done = enhance(density, make_model(), skip_empty=False, grid="input", device="cpu")
    assert done.density.shape == density.shape
    assert (done.density.origin, done.density.step) == (density.origin, density.step)
    assert np.abs(done.density.array - density.array).max() < 0.01
    assert done.density.name == "map superem"


def test_filters_have_as_many_threads_as_the_network(make_model, monkeypatch):
    found, limit = [], predict.limit

    def watched(*args, **options):
        found.append(fft.get_workers())
        return limit(*args, **options)

    monkeypatch.setattr(predict, "limit", watched)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    model = make_model(blur=[[2.0, 0.2]], reliability=[[0.0, 0.0], [1.0, 1.0]])
    enhance(noise((20, 20, 20)), model, device="cpu", reliability=True)
    assert found == [3, 3]


def test_a_prediction_is_no_sharper_than_its_input_allows(make_model):
    """The blur follows from the card's table, for the given resolution or the one to which input and output agree."""
    density = noise((24, 24, 24))
    model = make_model(blur=[[2.5, 0.0], [4.5, 1.0]])
    given = enhance(density, model, skip_empty=False, device="cpu", resolution=4.5)
    wanted = ndimage.gaussian_filter(density.array, 1.0, mode="constant", truncate=6)
    inner = (slice(6, -6),) * 3  # the padding is solvent, which is not exactly zero here
    assert np.abs(given.density.array - wanted)[inner].max() < 0.02
    assert given.report.resolution == 4.5 and "set for an input of 4.5 Å" in given.report.summary()
    found = enhance(density, model, skip_empty=False, device="cpu")
    assert found.report.resolution == 2.0  # an identity agrees with its input in all shells
    assert np.abs(found.density.array - density.array).max() < 1e-4
    for least_or_most in predict.RESOLUTIONS:
        assert enhance(density, model, device="cpu", resolution=least_or_most).report.resolution == least_or_most
    with pytest.raises(MapError, match="not between 1 and 30"):
        enhance(density, model, device="cpu", resolution=0.1)


def test_reliability_is_told_by_what_the_network_drew(make_model):
    """It is computed without letting low frequencies follow the input, since the card's table was measured so."""
    density = DensityMap(ndimage.gaussian_filter(noise((40, 40, 40)).array, 1.5))
    network, options = torch.nn.AvgPool3d(5, 1, 2), dict(blur=[[2.0, 0.2], [20.0, 0.2]], reliability=[[0.0, 0.0], [1.0, 1.0]])
    alone, followed = (enhance(density, make_model(network, follow=follow, **options), skip_empty=False, device="cpu",
                               reliability=True) for follow in (0.0, 0.5))
    assert np.abs(followed.density.array - alone.density.array).max() > 0.01 * density.array.std()
    np.testing.assert_array_equal(followed.reliability.array, alone.reliability.array)


def test_reliability_is_that_of_the_map_as_it_is_returned(make_model):
    """A blurred prediction shows less detail than the raw one."""
    density = DensityMap(ndimage.gaussian_filter(noise((40, 40, 40)).array, 1.5))
    table = [[0.0, 0.0], [1.0, 1.0]]
    sharp, blurred = (enhance(density, make_model(blur=blur, reliability=table), skip_empty=False, device="cpu",
                              reliability=True).reliability.array.mean() for blur in ([], [[2.0, 2.0], [20.0, 2.0]]))
    assert blurred < 0.9 * sharp
    fine, coarse = (enhance(density, make_model(blur=[[2.0, 0.0], [8.0, 2.0]], reliability=table), skip_empty=False, device="cpu",
                            resolution=resolution, reliability=True).reliability.array.mean() for resolution in (2.0, 8.0))
    assert (fine, coarse) == pytest.approx((sharp, blurred), rel=1e-3)  # by the given resolution


def test_it_works_on_another_thread(make_model):
    density, results = noise((20, 20, 20)), []
    thread = threading.Thread(target=lambda: results.append(enhance(density, make_model(), skip_empty=False, device="cpu")))
    thread.start()
    thread.join()
    assert np.abs(results[0].density.array - density.array).max() < 1e-4


def test_map_that_cannot_fit_is_refused_before_it_is_tried(make_model, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 2**30)
    density = noise((50, 50, 50), step=(20, 20, 20))
    with pytest.raises(MapError, match="981 x 981 x 981 voxels at 1 Å and needs about 28.1 GB of memory, but 8.0 GB"):
        enhance(density, make_model(), device="cpu")


@pytest.mark.parametrize("step", ["resample", "limit", "resample_onto"])
def test_memory_that_runs_out_beside_the_network_is_said(make_model, monkeypatch, step):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(predict, step, full)
    with pytest.raises(MapError, match="emd_1.map does not fit in memory; choose a part of it"):
        enhance(noise((9, 9, 9), name="emd_1.map"), make_model(), grid="input", device="cpu")


def test_network_that_gives_no_numbers(make_model):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x * float("nan")

    with pytest.raises(MapError, match="not numbers"):
        enhance(noise((9, 9, 9)), make_model(Broken()), device="cpu")


def test_the_card_says_how_many_orientations(make_model):
    """The caller can override it."""
    asks = make_model(rotations=4)
    for asked, found in ((None, 4), (1, 1), (8, 8)):
        assert enhance(noise((20, 20, 20)), asks, device="cpu", rotations=asked).report.rotations == found


@pytest.mark.parametrize("wrong", [{"rotations": 2}, {"grid": "2A"}, {"tiling": "slow"}])
def test_wrong_settings(make_model, wrong):
    with pytest.raises(ValueError):
        enhance(noise((9, 9, 9)), make_model(), device="cpu", **wrong)


def test_report_says_it_in_one_line(make_model):
    report = enhance(noise((60, 60, 60)), make_model(), device="cpu", skip_empty=False).report
    line = report.summary()
    assert "Model test on CPU" in line and f"{report.tiles_run} of {report.tiles_run} tiles" in line and "\n" not in line
    assert "skipped" not in line
    line = dataclasses.replace(report, tiles_run=12, tiles_skipped=4).summary()
    assert "12 of 16 tiles run, 4 empty ones skipped (25 %)" in line


def test_a_map_in_which_nothing_stands_out_is_run_whole(make_model):
    report = enhance(noise((60, 60, 60)), make_model(), device="cpu").report
    assert report.tiles_skipped == 0
