"""Tests of the diagnoses of a model: `training.gap`, `training.variants` and `training.reliability`."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from scipy.fft import rfftn
from superem.core.density import DensityMap

from training import gap, reliability, variants
from training.metrics.grid import spatial_frequency
from training.simulate import Pair


def blobs(seed: int, n: int = 32) -> np.ndarray:
    """Return smooth random density (n, n, n) of variance 1."""
    array = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((n, n, n)), 1.2, mode="wrap")
    return (array / array.std()).astype(np.float32)


def sample(sr: np.ndarray, hr: np.ndarray, predict=None) -> variants.Sample:
    """Return a sample of `variants` made of two arrays: the input is their mean, the raw prediction twice the result."""
    case = SimpleNamespace(density=DensityMap((sr + hr) / 2))
    reference = SimpleNamespace(hr=DensityMap(hr), near=hr > 0)
    return variants.Sample(case, reference, predict, (sr + hr) / 2, 2 * sr, sr)


def test_gap_of_a_perfect_and_of_an_idle_network():
    """A perfect prediction has no loss; an identity network has the input's loss; tiles without a molecule are left out."""
    hr = np.maximum(blobs(1, gap.SIZE), 0)
    lr = ndimage.gaussian_filter(hr, 1.5).astype(np.float32)
    pairs = [Pair(lr, hr, None, 4.0), Pair(lr, np.zeros_like(hr), None, 4.0)]  # the second has no molecule
    found = gap.losses({"input": lambda x: x, "same": lambda x: x * 1}, pairs, np.random.default_rng(0))
    assert found["input"] == pytest.approx(found["same"])
    assert found["input"].min() > 0.01
    assert found["input"] == pytest.approx(gap.losses({"input": lambda x: x}, pairs[:1], np.random.default_rng(0))["input"])
    alike = [Pair(hr, hr, None, 4.0)]
    assert gap.losses({"input": lambda x: x}, alike, np.random.default_rng(0))["input"] == pytest.approx([0, 0], abs=1e-5)


def test_gap_of_mirrored_tiles():
    """They are the same tiles mirrored: the loss of the input stays, that of a network that knows left from right changes."""
    hr = np.maximum(blobs(1, gap.SIZE), 0)
    pairs = [Pair(ndimage.gaussian_filter(hr, 1.5).astype(np.float32), hr, None, 4.0)]
    networks = {"input": lambda x: x, "shift": lambda x: x.roll(1, -1), "turn": lambda x: x.roll(-1, -1)}
    plain, mirrored = (gap.losses(networks, pairs, np.random.default_rng(0), mirror) for mirror in (False, True))
    assert mirrored["input"] == pytest.approx(plain["input"], rel=1e-4)
    assert mirrored["shift"] == pytest.approx(plain["turn"], rel=1e-4)
    assert mirrored["shift"] != pytest.approx(plain["shift"], rel=1e-3)


def test_gap_says_that_a_pool_is_empty(tmp_path):
    with pytest.raises(SystemExit, match="training.pool first"):
        gap.simulated(tmp_path, 3, np.random.default_rng(0))


@pytest.mark.parametrize("node", variants.NODES[:3])
def test_amplitudes_change_at_one_frequency_only(node):
    """They change by the factor at the node, and not at all 0.04 1/Å away; below the first node they change as at the node."""
    sr = np.random.default_rng(2).standard_normal((50, 50, 50)).astype(np.float32)
    ratio = np.abs(rfftn(variants.tilted(sample(sr, sr), node, 1.15))) / np.abs(rfftn(sr))
    s = spatial_frequency(sr.shape, variants.STEP)
    assert ratio[np.abs(s - node) < 0.002] == pytest.approx(1.15, abs=0.01)
    assert ratio[s > node + 0.041] == pytest.approx(1, abs=1e-3)
    below = 1.15 if node == variants.NODES[0] else 1
    assert ratio[s < node - 0.041] == pytest.approx(below, abs=1e-3)


def test_best_filter_undoes_a_blur():
    hr = blobs(3)
    blunt = variants.filtered(hr, lambda s: np.exp(-20 * s**2))
    assert variants.best_filter(sample(blunt, hr)) == pytest.approx(hr, abs=0.1)
    assert np.abs(blunt - hr).max() > 0.5


def test_each_variant_does_what_its_name_says():
    sr, hr = blobs(4), blobs(5)
    asked = []

    def predict(array, rotations=None):
        asked.append((array, rotations))
        return array

    x = sample(sr, hr, predict)
    found = variants.variants()
    assert found["as shipped"](x) is x.sr
    assert found["input mixed in, 30%"](x) == pytest.approx(0.7 * sr + 0.3 * x.lr, abs=1e-6)
    assert found["negatives cut"](x).min() == 0
    assert not found["oracle: nothing beyond 3 Å of the model"](x)[hr <= 0].any()
    kept = found["input put back below a Gaussian of 2.5 Å"](x)
    assert ndimage.gaussian_filter(kept - x.lr, 4).std() < 0.5 * ndimage.gaussian_filter(sr - x.lr, 4).std()
    sharper = found["input changed by a B-factor of -30 Å²"](x)
    assert np.abs(rfftn(sharper)).sum() > np.abs(rfftn(x.lr)).sum()
    found["orientations: 4"](x)
    found["predicted twice"](x)
    assert asked[-2][1] == 4
    assert asked[-1][0] is x.sr


def reliability_sample(name: str, group: str, slope: float, atoms: int) -> reliability.Sample:
    """Return a sample whose Q-scores rise with detail by `slope`, up to a detail of 0.2."""
    detail = np.linspace(0, 0.2, atoms)
    return reliability.Sample(name, group, detail, detail, detail, slope * detail, detail[:0])


def test_curve_of_reliability_counts_every_map_alike_and_never_falls():
    """For two maps with different slopes and very different sizes, the curve is their mean; where scores fall, it is flat."""
    large, small = reliability_sample("a", "A", 3, 20_000), reliability_sample("b", "B", 1, 200)
    curve = reliability.fit([large, small])
    assert [d for d, _ in curve] == list(reliability.NODES)
    assert curve[0] == [0.0, 0.0]
    assert np.interp(0.1, *np.array(curve).T) == pytest.approx(0.2, abs=0.01)
    falling = reliability_sample("c", "C", 0, 300)
    falling.q[:] = 0.5 - falling.detail
    q = np.array(reliability.fit([falling]))[:, 1]
    assert (np.diff(q) >= 0).all() and q[-1] < 0.5


def test_a_map_is_judged_by_the_curve_of_other_proteins(tmp_path, monkeypatch, capsys):
    """The expected Q-score in each row follows from the other protein's slope, not from the map's own."""
    samples = [reliability_sample(n, g, s, 2000) for n, g, s in (("a", "A", 3), ("b", "A", 3), ("c", "C", 1))]
    monkeypatch.setattr(reliability, "read_samples", lambda *arguments: samples)
    reliability.main(["--data", str(tmp_path), "--cache", str(tmp_path / "cache")])
    rows = {cells[1].strip(): [c.strip() for c in cells[2:4]] for line in capsys.readouterr().out.splitlines()
            if len(cells := line.split("|")) > 3}
    assert (rows["a"], rows["b"], rows["c"]) == (["0.30", "0.10"], ["0.30", "0.10"], ["0.10", "0.30"])


def test_gains_are_positive_where_a_variant_is_better(monkeypatch):
    """For figures in Å, lower is better."""
    found = {"fsc05": 4.0, "q": 0.4, "cc_mask": 0.7, "cc_box": 0.7, "cube_mean": 0.6}
    better = {"fsc05": 3.5, "q": 0.5, "cc_mask": 0.9, "cc_box": 0.8, "cube_mean": 0.7}
    monkeypatch.setattr(variants, "evaluate_map_cached",
                        lambda density, reference, cache, before=None: better if before else found)
    monkeypatch.setattr(variants, "replace", lambda density, array: density)
    x = sample(blobs(8), blobs(9))
    assert variants.figures(x, x.sr, None) == pytest.approx([0.5, 0.1, 0.2, 0.1, 0.1])


def test_the_bound_of_local_blurs_takes_the_best_of_them(monkeypatch):
    """With the map's maximum as the score of every atom, the best choice is no blur."""
    x = sample(blobs(8), blobs(9))
    x.reference.points = x.reference.valid = None
    x.reference.atoms = SimpleNamespace(xyz=np.zeros((3, 3)))
    monkeypatch.setattr(variants, "replace", lambda density, array: DensityMap(array))
    monkeypatch.setattr(variants, "scores", lambda density, points, valid: np.full(3, density.array.max()))
    assert variants.local_blur(x) == pytest.approx(float(x.raw.max() - x.case.density.array.max()), rel=1e-5)


def test_local_agreement_is_a_correlation():
    a, b = blobs(6), blobs(7)
    assert reliability.local_agreement(a, 2 * a + 1) == pytest.approx(1, abs=0.02)
    assert reliability.local_agreement(a, -a) == pytest.approx(-1, abs=0.02)
    assert abs(reliability.local_agreement(a, b).mean()) < 0.1
