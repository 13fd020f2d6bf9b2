"""Tests that cached predictions and references equal newly made ones."""

from dataclasses import fields, replace

import numpy as np
import pytest
from superem.core import predict
from superem.core.density import DensityMap
from superem.core.resample import resample
from superem.nets import store

from superem import nets
from training.metrics import Atoms, Reference, evaluate_map, evaluate_map_cached
from training.metrics.cache import Cache, source
from training.predictions import Predictor, predictors

BLUR = [[2.0, 0.3], [6.0, 0.9]]


@pytest.fixture(scope="module")
def model(make_network, tmp_path_factory) -> store.Model:
    """A small network that is not the identity, with a blur."""
    network, options = make_network(3, 0.05)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    store.save(path, network, store.Card("unet", "unet", options, 24, 4, "robust", blur=BLUR))
    return store.load(str(path))


@pytest.fixture(scope="module")
def density() -> DensityMap:
    """Blobs in a box whose origin is not zero."""
    rng = np.random.default_rng(1)
    array = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((30, 32, 34))) * np.exp(-40 * sum(
        f**2 for f in np.meshgrid(np.fft.fftfreq(30), np.fft.fftfreq(32), np.fft.rfftfreq(34), indexing="ij"))), (30, 32, 34))
    return DensityMap(array.astype(np.float32), (3.0, -2.0, 1.0))


@pytest.mark.parametrize("resolution", [None, 4.0])
@pytest.mark.parametrize("blur", [None, [], [[2.0, 0.6], [6.0, 1.4]]])
def test_a_kept_prediction_is_that_of_the_core(tmp_path, model, density, blur, resolution):
    """New and cached predictions are equal, with the card's blur or another, and with a given or found resolution."""
    card = model.card if blur is None else replace(model.card, blur=blur)
    expected = predict.enhance(density, replace(model, card=card), device="cpu", resolution=resolution).density
    predictor = Predictor(model, Cache(tmp_path), blur=blur)
    for _ in range(2):
        result = predictor(density, resolution)
        assert result.array == pytest.approx(expected.array, abs=1e-5 * float(np.abs(expected.array).max()))
        assert result.origin == expected.origin
    assert float(np.abs(expected.array - density.array).max()) > 0.01 * float(density.array.std())


def test_a_map_of_large_voxels_is_no_sharper_than_that_of_the_core(tmp_path, model, density):
    """Voxels of 2.5 Å hold nothing finer than 5 Å, even if input and prediction agree beyond this on the 1 Å grid."""
    coarse = resample(density, 2.5)
    expected = predict.enhance(coarse, model, device="cpu")
    predictor = Predictor(model, Cache(tmp_path))
    result = predictor(resample(coarse), finest=5.0)
    assert expected.report.resolution == pytest.approx(5)
    assert result.array == pytest.approx(expected.density.array, abs=1e-5 * float(np.abs(result.array).max()))
    assert np.abs(predictor(resample(coarse)).array - result.array).max() > 0.05 * result.array.std()


def test_only_what_changes_a_prediction_makes_a_new_one(tmp_path, model, density, monkeypatch):
    """Another blur or name causes no new prediction; other weights, maps or tiles do."""
    made = []
    true = predict.enhance
    monkeypatch.setattr(predict, "enhance", lambda *a, **k: made.append(1) or true(*a, **k))
    cache = Cache(tmp_path)
    Predictor(model, cache)(density)
    Predictor(model, cache, blur=[])(density)
    Predictor(replace(model, card=replace(model.card, name="other", blur=BLUR[:1]), sha256="0"), cache)(density)
    assert len(made) == 1
    Predictor(model, cache)(DensityMap(2 * density.array, density.origin))
    Predictor(replace(model, card=replace(model.card, tile=32)), cache)(density)
    Predictor(model, cache, rotations=4)(density)
    Predictor(replace(model, card=replace(model.card, rotations=4)), cache)(density)
    other = nets.build("unet", **model.card.options).eval()
    Predictor(replace(model, network=other), cache)(density)
    assert len(made) == 5


def test_words_about_code_leave_what_it_made_as_it_is(tmp_path):
    """Changed comments, docstrings and line breaks keep the cache valid; changed constants, order or names do not."""
    code = tmp_path / "code.py"

    def of(text):
        code.write_text(text)
        return source(code)

    plain = of("A = 5\n\n\ndef f(x):\n    return (x + A) * 2\n")
    assert of('"""Words."""\n\nA = 5  # five\n\n\ndef f(x):\n    """Add."""\n    return (x +\n            A) * 2\n') == plain
    for other in ("A = 6\n\n\ndef f(x):\n    return (x + A) * 2\n", "A = 5\n\n\ndef f(x):\n    return x + A * 2\n",
                  "A = 5\n\n\ndef f(x):\n    return (x + A) * 'two'\n"):
        assert of(other) != plain


def test_labels_tell_models_apart(tmp_path, model):
    """A label is the card's name, or the file's if cards share one, with a number for each blur."""
    paths = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        store.save(path, model.network, model.card)
    cache = Cache(tmp_path / "cache")
    assert list(predictors(paths[:1], cache)) == ["unet"]
    assert list(predictors(paths, cache, blurs=[[]])) == ["a", "a, blur 1", "b", "b, blur 1"]
    assert list(predictors(paths[:1], cache, taken=("unet",))) == [f"unet {store.load(paths[0]).sha256[:6]}"]
    found = predictors(paths[:1], cache, tile=64)["unet"]
    assert found.model.card.tile == 64 and found.blur == BLUR


def test_a_cached_reference_is_the_one_prepared(tmp_path, density):
    """All arrays and measurements are equal, also if some of the model's atoms lie outside of the box."""
    xyz = np.random.default_rng(2).uniform(-8, 28, (120, 3)) + density.origin
    n = np.ones(120)
    atoms = Atoms(xyz, np.array(["C", "Zn"] * 60), 40 * n, n, n > 0, n < 0, np.arange(120) // 4)
    fresh = Reference.prepare(atoms, density, 4.0)
    cache = Cache(tmp_path)
    for _ in range(2):
        cached = Reference.cached(atoms, density, 4.0, cache)
        for f in fields(Reference):
            if f.name not in ("atoms", "hr"):
                assert np.array_equal(getattr(cached, f.name), getattr(fresh, f.name)), f.name
        assert np.array_equal(cached.hr.array, fresh.hr.array) and cached.hr.origin == fresh.hr.origin
        assert len(cached.atoms) == len(fresh.atoms) < 120
        assert cached.atoms.volume == fresh.atoms.volume
        before = evaluate_map_cached(density, cached, cache)
        assert before == evaluate_map(density, fresh)
        assert evaluate_map_cached(cached.hr, cached, cache, before) == evaluate_map(fresh.hr, fresh, before)
    assert not np.array_equal(Reference.cached(atoms, density, 5.0, cache).expected, fresh.expected)


def test_what_is_written_in_part_is_not_kept(tmp_path, monkeypatch):
    """An interrupted write leaves nothing behind, and does not disturb another process that writes the same file."""
    cache, data = Cache(tmp_path), np.arange(4)

    def broken(target, *_, **arrays):
        with target if hasattr(target, "write") else open(target, "wb") as file:  # an open file, or a path
            file.write(b"half")
        assert Cache(tmp_path).record("a") is None
        raise KeyboardInterrupt

    for function, keep in (("numpy.save", lambda: cache.array("a", lambda: data)),
                           ("numpy.savez", lambda: cache.arrays("a", lambda: {"x": data})),
                           ("pathlib.Path.write_text", lambda: cache.keep("a", {"x": 1}))):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(function, broken)
            keep()
        assert not list(tmp_path.iterdir())
        keep()
        assert [path.stem for path in tmp_path.iterdir()] == ["a"]
        next(tmp_path.iterdir()).unlink()
