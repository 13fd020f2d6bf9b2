"""Tests of the realism statistics, on known filters and shares, and on classes that can and cannot be told apart."""

import numpy as np
import pytest
from scipy import ndimage
from superem.core.density import DensityMap

from training import agreement, classify, degrade, map_statistics, pairs, realism, simulate
from training.density import SIGMA_PER_RESOLUTION
from training.map_statistics import Sample


@pytest.fixture(scope="module")
def hr(atoms):
    """HR density of the made-up molecule in the middle of a box of 64 Å."""
    return simulate.target_density(atoms.coordinates + 32, atoms.weights, 64)


def test_spectra_of_a_filtered_model_are_the_filter(hr):
    """For a Gaussian filter of known width, the FSC is 1, and the amplitude falls as the filter's Fourier transform."""
    sigma, d = 0.9, 4.0
    sample = Sample("g", ndimage.gaussian_filter(hr, sigma), hr, d)
    amplitude, correlation = map_statistics.spectra(sample)
    q = map_statistics.SHELLS / d
    expected = np.exp(-2 * np.pi**2 * sigma**2 * q**2)
    expected /= expected[map_statistics.REFERENCE_SHELLS].mean()
    low = map_statistics.SHELLS < 1.1  # beyond, leakage from the mask is no longer small
    np.testing.assert_allclose(amplitude[low], expected[low], rtol=0.12)
    assert correlation[low].min() > 0.97


def test_noise_lowers_the_fsc_as_its_power_says(hr):
    """With white noise, FSC = 1 / sqrt(1 + N/S) at a shell where N/S is known."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(hr.shape).astype(np.float32) * 0.25
    sample = Sample("g", hr + noise, hr, 4.0)
    _, correlation = map_statistics.spectra(sample)
    _, clean = map_statistics.spectra(Sample("g", hr, hr, 4.0))
    assert clean.min() > 0.999
    mask = map_statistics.soft_mask(2 + ndimage.distance_transform_edt(hr <= map_statistics.NEAR))
    q = map_statistics.spatial_frequency(hr.shape, (1.0, 1.0, 1.0)) * 4
    k = 8
    shell = np.abs(q - map_statistics.SHELLS[k]) < 0.05
    power = [(np.abs(np.fft.rfftn(a * mask)) ** 2)[shell].mean() for a in (hr, noise)]
    assert correlation[k] == pytest.approx(1 / np.sqrt(1 + power[1] / power[0]), abs=0.06)


def test_a_histogram_is_a_density_of_the_molecule_alone(hr):
    """It integrates to 1, and voxels outside of the molecule do not count."""
    lr = np.where(hr > map_statistics.NEAR, 0.42, -0.9).astype(np.float32)
    counts = map_statistics.histogram(Sample("g", lr, hr, 3.0))
    width = map_statistics.DENSITIES[1] - map_statistics.DENSITIES[0]
    assert counts.sum() * width == pytest.approx(1)
    assert counts.max() * width == pytest.approx(1)
    assert map_statistics.DENSITIES[np.argmax(counts)] == pytest.approx(0.42, abs=width)


def test_statistics_follow_the_map(hr):
    """Clipping and masking change the statistics that are named for them."""
    rng = np.random.default_rng(0)
    lr = ndimage.gaussian_filter(hr, 1.0) + 0.2 * ndimage.gaussian_filter(rng.standard_normal(hr.shape), 1) - 0.02
    near = hr > map_statistics.NEAR

    def median(array):
        values = map_statistics.statistics(np.random.default_rng(0), Sample("g", array.astype(np.float32), hr, 4.0), 12)
        assert values.shape == (12, len(map_statistics.STATISTICS))
        return dict(zip(map_statistics.STATISTICS, np.nanmedian(values, axis=0), strict=True))

    plain, masked, clipped = median(lr), median(lr * near), median(np.maximum(lr, 0.3))
    assert masked["share of zeros outside"] == 1 and plain["share of zeros outside"] < 0.9
    assert masked["mean inside"] == pytest.approx(plain["mean inside"])
    assert clipped["share below 0 inside"] == 0 < plain["share below 0 inside"]
    assert plain["correlation with model"] > 0.9


def test_the_classifier_guesses_on_alike_and_knows_different_maps():
    """It is near 50 % for equal distributions, and near 100 % for a shifted one, naming the shifted statistic."""
    rng = np.random.default_rng(3)
    groups = [f"protein {i // 2}" for i in range(16)]

    def maps(count, shift=0.0):
        drawn = []
        for _ in range(count):
            values = rng.standard_normal((40, 5)) + 0.2 * rng.standard_normal(5)
            values[:, 3] += shift
            drawn.append(values)
        return drawn

    alike, each, _ = classify.accuracy(rng, maps(16), maps(40), groups)
    assert set(each) == set(groups)
    assert alike == pytest.approx(0.5, abs=0.08)
    different, _, weights = classify.accuracy(rng, maps(16, 4), maps(40), groups)
    assert different > 0.95
    assert np.argmax(np.abs(weights)) == 3 and weights[3] > 0


def test_a_trait_of_one_protein_does_not_count_as_knowledge():
    """A trait of a single protein says nothing about the protein that is left out."""
    rng = np.random.default_rng(4)
    groups = [f"protein {i}" for i in range(8)]
    real = []
    for i in range(8):
        values = rng.standard_normal((40, 8))
        values[:, i] += 6
        real.append(values)
    right = classify.accuracy(rng, real, [rng.standard_normal((40, 8)) for _ in range(30)], groups)[1]
    assert np.mean(list(right.values())) < 0.7


def test_what_only_one_maker_does_does_not_count_as_knowledge():
    """A trait of all crops of one maker reveals that maker's other proteins, unless all crops of that maker are left out."""
    rng = np.random.default_rng(6)
    groups = [f"protein {i}" for i in range(6)]
    makers = ["a", "a", "a", "b", "c", "d"]
    real = [rng.standard_normal((40, 4)) + (np.eye(4)[0] * 6 if maker == "a" else 0) for maker in makers]
    fake = [rng.standard_normal((40, 4)) for _ in range(30)]
    known = classify.accuracy(rng, real, fake, groups)[1]
    unknown = classify.accuracy(rng, real, fake, groups, makers=makers)[1]
    assert all(known[g] > 0.9 for g in groups[:3])
    assert all(unknown[g] < 0.7 for g in groups[:3])


def test_maps_of_one_kind_are_told_apart_by_chance_only():
    """With a random offset for each map, the reference accuracies scatter about 50 %."""
    rng = np.random.default_rng(7)
    groups = [f"protein {i}" for i in range(8)]

    def maps(count):
        return [rng.standard_normal((20, 4)) + rng.standard_normal(4) for _ in range(count)]

    for found in classify.references(rng, maps(8), maps(40), groups):
        assert found.shape == (classify.DRAWS,)
        assert found.mean() == pytest.approx(0.5, abs=0.12) and found.std() > 0.02


def test_a_map_is_masked_where_it_is_zero_round_the_molecule(hr):
    """A map with noise there does not count as masked."""
    near = hr > map_statistics.NEAR
    noisy = hr + np.random.default_rng(0).standard_normal(hr.shape).astype(np.float32)
    assert not Sample("g", noisy, hr, 4.0).masked
    assert Sample("g", noisy * near, hr, 4.0).masked


def test_strengths_of_parts_are_those_that_they_have(atoms):
    """Two parts of a molecule and a constant inside its volume, summed with known factors, give these factors despite noise."""
    rng = np.random.default_rng(8)
    xyz, half = atoms.coordinates + 32, atoms.coordinates[:, 0] > 0
    one, other = (simulate.target_density(xyz[c], atoms.weights[c], 64) for c in (half, ~half))
    volume = (one + other > 0.05).astype(np.float32)
    lr = 2 * (one + 0.4 * other - 0.1 * volume) + 0.02 * rng.standard_normal(one.shape)
    found = agreement.part_strengths(lr, (one, other, volume))
    np.testing.assert_allclose(found, [[0.4, -0.1]] * len(agreement.PART_BANDS), atol=0.05)


def test_shares_inside_a_band_are_counted():
    """The band is 5 to 95 % of the reference, by column; undefined values do not count."""
    reference = np.repeat(np.arange(101.0)[:, None], 2, axis=1)
    values = np.array([[50.0, 4.0], [96.0, np.nan], [5.0, 95.0]])
    assert realism.inside_share(values, reference) == pytest.approx(3 / 5)


def test_quantiles_count_every_protein_alike():
    """Three maps of one protein weigh as much as the single map of another; undefined values do not count."""
    values = np.array([1.0, 1.0, 1.0, 5.0, np.nan])
    found = realism.quantiles(values, np.array([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0]))
    assert found[0] == pytest.approx(1) and found[-1] == pytest.approx(5)
    assert 1.5 < found[2] < 4
    assert realism.quantiles(values, np.ones(5))[2] == pytest.approx(1)


def test_an_fsc_crosses_its_threshold_where_a_line_does():
    """It is linear between shells; it is the last shell if the curve never falls below, and the first if it is never above."""
    line = np.linspace(1, 0, len(map_statistics.SHELLS))
    middle = (map_statistics.SHELLS[0] + map_statistics.SHELLS[-1]) / 2
    assert map_statistics.crossing(line, 0.5) == pytest.approx(middle)
    assert map_statistics.crossing(np.ones(len(line)), 0.5) == map_statistics.SHELLS[-1]
    assert map_statistics.crossing(np.zeros(len(line)), 0.5) == map_statistics.SHELLS[0]


def test_local_correlation_is_one_for_the_model_itself_and_falls_with_noise(hr):
    """It is 1 in every window for the model blurred to the stated resolution."""
    lr = ndimage.gaussian_filter(hr, 4 * SIGMA_PER_RESOLUTION)
    assert agreement.local_correlation(lr, hr, 4.0).min() > 0.999
    noise = 0.3 * np.random.default_rng(0).standard_normal(hr.shape).astype(np.float32)
    assert np.median(agreement.local_correlation(lr + noise, hr, 4.0)) < 0.9


def test_strength_that_varies_is_told_from_noise(hr):
    """A smooth factor shows equally at low and high frequencies, noise does not, and the model itself shows no variation."""
    rng = np.random.default_rng(5)
    field = 0.5 * degrade.smooth_field(rng, len(hr), 15)

    def fit(lr):
        return dict(zip(agreement.LOCAL, agreement.local_fit(np.random.default_rng(0), lr, hr, 4.0), strict=True))

    plain, varied = fit(hr), fit(hr * np.exp(field))
    noisy = fit(hr + 3 * ndimage.gaussian_filter(rng.standard_normal(hr.shape), 0.7))
    assert plain["spread of strength, low"] < 0.02
    assert varied["spread of strength, low"] > 0.2 and varied["correlation of strengths"] > 0.8
    assert noisy["spread of strength, high"] > 0.05 and noisy["correlation of strengths"] < 0.6


def test_misplaced_atoms_are_measured(atoms):
    """Two halves of a molecule, each shifted by 0.25 Å along x, give 0.25 / sqrt(3) Å per component."""
    centred = atoms.coordinates + 32
    apart = centred + np.where(centred[:, 2:] > 32, [0.25, 0, 0], [-0.25, 0, 0])
    lr, hr = (simulate.target_density(at, atoms.weights, 64) for at in (apart, centred))
    found = agreement.local_fit(np.random.default_rng(0), lr, hr, 3.5)
    assert found[3] == pytest.approx(0.25 / np.sqrt(3), rel=0.3)


def test_maps_of_the_simulators_resolutions_are_compared(atoms, monkeypatch):
    """They are the simulator's whole range, 2.6 to 6 Å, and nothing else."""
    density = DensityMap(np.random.default_rng(0).random((12, 12, 12)).astype(np.float32))
    maps = {f"maker_{d}": pairs.RealMap(density, None, atoms, d, "g") for d in (2.5, 2.6, 4.0, 6.0, 6.1)}
    monkeypatch.setattr(pairs, "read_split", lambda folder, split: maps)
    found = realism.deposited(None)
    assert [sample.resolution for sample in found.values()] == [2.6, 4.0, 6.0]
    assert {sample.maker for sample in found.values()} == {"maker"}
    drawn = [simulate._resolution(np.random.default_rng(seed)) for seed in range(300)]
    assert 2.6 <= min(drawn) < 2.75 and 5.2 < max(drawn) <= 6


def test_scores_are_printed_beside_what_chance_gives(monkeypatch, capsys):
    """The mean and the 5 to 95 % range between maps of the same kind are printed, and the score on proteins not tuned on."""
    kinds = {"A": 0.9, "B": 0.9, "7mjs": 0.5, "FrhA": 0.7}
    deposited = {g: Sample(g, np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32), 4.0) for g in kinds}
    cubes = [np.ones((2, len(map_statistics.STATISTICS)))]
    monkeypatch.setattr(realism, "deposited", lambda folder: deposited)
    monkeypatch.setattr(realism, "load_structures", lambda *paths: {})
    monkeypatch.setattr(realism, "simulated", lambda rng, sets, count: [deposited["A"]] * count)
    monkeypatch.setattr(realism, "measure", lambda rng, samples, count: ({}, {}, cubes * len(samples)))
    # 75 % on deposited cubes (mean over proteins), 65 % on simulated ones
    monkeypatch.setattr(realism, "accuracy", lambda *_, **__: (0.7, kinds, np.ones(len(map_statistics.STATISTICS))))
    monkeypatch.setattr(realism, "references", lambda *_: (np.linspace(0, 1, 21), np.linspace(0.4, 0.6, 21)))
    drawn = []
    monkeypatch.setattr("training.realism_plot.draw", lambda *given: drawn.append(given[-1]))
    realism.main(["--data", "none", "--count", "20", "--out", "a.png"])
    assert drawn == [[0.7, 0.7]]
    said = capsys.readouterr().out
    assert "deposited ones 50 % (5 to 95 %), half of the proteins against the other half 50 % (41 to 59 %)" in said
    assert "were not tuned on (7mjs, FrhA): 62 %" in said  # the mean of 60 % on these two and 65 % on simulated cubes


def test_the_picture_is_drawn(atoms, hr, tmp_path):
    """A few simulated maps, used as both kinds, give a PNG file, and a table with the expected number of rows."""
    from training.realism_plot import draw

    rng = np.random.default_rng(0)
    fake = realism.simulated(rng, {"BM5": [atoms]}, 3)
    assert all(s.hr.any() for s in fake)
    curves, medians, _ = map_statistics.measure(rng, fake, 4)
    rows = realism.table({**curves, **medians}, {**curves, **medians}, ["a", "a", "b"]).splitlines()
    assert len(rows) == 1 + 4 + 2 * len(realism.PRINTED) + len(map_statistics.WHOLE) + len(map_statistics.STATISTICS)
    draw(tmp_path / "docs/realism.png", [s.resolution for s in fake], (curves, medians), (curves, medians), (0.7, 0.6))
    assert (tmp_path / "docs/realism.png").read_bytes().startswith(b"\x89PNG")
