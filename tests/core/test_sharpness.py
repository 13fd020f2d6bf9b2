"""Tests of the agreement of input and prediction, and of the blur that follows from it."""

import numpy as np
import pytest
from scipy import ndimage
from superem.core import sharpness
from superem.core.sharpness import FOLLOWED, SHELL, Shells, blur, blur_for, limit, molecule


def low_pass(array, resolution):
    """Cut an array in Fourier space at a resolution (Å), on a 1 Å grid."""
    s = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n) for n in array.shape], indexing="ij")))
    return np.fft.ifftn(np.fft.fftn(array) * (s < 1 / resolution)).real


@pytest.mark.parametrize("resolution", [2.8, 4.0, 6.5])
def test_agreement_ends_where_common_detail_ends(resolution):
    """The two maps share all detail to a resolution, and none beyond it."""
    rng = np.random.default_rng(0)
    common, one, other = (rng.standard_normal((48, 40, 44)) for _ in range(3))
    a, b = (low_pass(common, resolution) + x - low_pass(x, resolution) for x in (one, other))
    assert Shells.of(a, b).agreement() == pytest.approx(resolution, rel=0.08)
    assert Shells.of(a, a).agreement() == 2.0


def test_shells_coarser_than_20_a_are_not_looked_at():
    """Envelope and box dominate these shells; a single bad shell elsewhere is ignored too."""
    for low, wanted in ((slice(0, 4), 2.0), (slice(10, 11), 2.0), (slice(4, 6), 20.0),
                        (slice(10, 12), 1 / ((9.5 + 0.2 / 0.9) * SHELL))):
        correlation = np.ones(40)
        correlation[low] = 0.1
        assert Shells(correlation, np.ones(40)).agreement() == pytest.approx(wanted)


def test_agreement_is_read_between_shells():
    """A small change of the correlation changes it a little, also where a shell crosses the threshold."""

    def found(change):
        return Shells(np.clip(1.2 - 0.02 * np.arange(40) + change, 0, 1), np.ones(40)).agreement()

    steps = np.diff([found(change) for change in np.linspace(-0.03, 0.03, 61)])
    assert steps.max() < 0 and np.abs(steps).max() < 2 * np.abs(steps).min() < 0.02
    assert found(0) == pytest.approx(1 / (20.5 * SHELL))


def test_agreement_does_not_depend_on_scale_or_sharpening():
    """Shell correlations are invariant to both."""
    rng = np.random.default_rng(1)
    a = low_pass(rng.standard_normal((40, 40, 40)), 3) + 0.05 * rng.standard_normal((40, 40, 40))
    b = a + 0.2 * rng.standard_normal(a.shape)
    sharpened = 7 * ndimage.gaussian_filter(a, 0.8, mode="wrap")
    assert Shells.of(a, b).agreement() == pytest.approx(Shells.of(sharpened, b).agreement(), rel=1e-4)


def test_blur_is_a_gaussian_and_leaves_no_wrap_around():
    """It agrees with scipy at the borders too, nothing wraps around to the opposite face, and a sigma of 0 returns the array."""
    array = np.random.default_rng(0).random((20, 23, 17)).astype(np.float32)
    wanted = ndimage.gaussian_filter(array, 1.2, mode="constant", truncate=6)
    np.testing.assert_allclose(blur(array, 1.2), wanted, atol=2e-3)
    spot = np.zeros((20, 20, 20), np.float32)
    spot[0, 10, 8] = 1
    assert blur(spot, 3.0)[0].max() > 1e-3 and blur(spot, 3.0)[-1].max() < 1e-5
    assert blur(array, 0) is array


def test_tables_are_interpolated_and_end_flat():
    """Without a table there is no blur."""
    table = [[3.0, 0.2], [4.0, 0.6]]
    assert blur_for(3.5, table) == pytest.approx(0.4)
    assert blur_for(1.0, table) == 0.2 and blur_for(9.0, table) == 0.6
    assert blur_for(4.0, []) == 0


def test_limit_finds_what_it_is_not_told_and_blurs_by_it():
    a = np.random.default_rng(3).standard_normal((32, 32, 32)).astype(np.float32)
    b = a + 0.5 * np.random.default_rng(4).standard_normal(a.shape).astype(np.float32)
    table = [[2.0, 0.4], [6.0, 1.2]]
    told, resolution, agreed = limit(a, b, table, resolution=4.0)
    assert resolution == 4.0 and agreed is None
    np.testing.assert_allclose(told, blur(b, 0.8), atol=1e-6)
    found, resolution, agreed = limit(a, b, table)
    assert resolution == agreed == Shells.of(a, b).agreement() < 7
    assert limit(a, b, table, finest=7.0)[1:] == (7.0, 7.0)
    assert limit(a, b, table, 0.5, resolution=4.0)[1:] == (4.0, Shells.of(a, b).agreement())
    np.testing.assert_allclose(found, blur(b, blur_for(resolution, table)), atol=1e-6)
    same, *nothing = limit(a, b, [])
    assert same is b and nothing == [None, None]


def tilted(array):
    """Return an array after a smooth filter: amplitudes rise by a third at 0.05 1/Å, and fall by a third at 0.15."""
    s = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n) for n in array.shape], indexing="ij")))
    return np.fft.ifftn(np.fft.fftn(array) * (1 + np.cos(np.pi * np.clip((s - 0.05) / 0.1, 0, 1)) / 3)).real


def test_low_frequencies_follow_the_input():
    """Amplitudes that the prediction changed are restored as far as requested; phases stay."""
    truth = np.random.default_rng(5).standard_normal((72, 64, 68)).astype(np.float32)
    predicted = tilted(truth).astype(np.float32)

    def slope(array):
        ratio = Shells.of(truth, array).ratio
        return np.log(ratio[FOLLOWED[1]] / ratio[FOLLOWED[0]])

    none, half, whole = (limit(truth, predicted, [], follow)[0] for follow in (0, 0.5, 1))
    assert none is predicted and slope(none) > 0.6
    assert slope(half) == pytest.approx(slope(none) * (1 - 0.5 * 0.7), rel=0.15)  # smoothing loses a third
    assert slope(whole) == pytest.approx(slope(none) * (1 - 0.7), rel=0.3)
    assert Shells.of(predicted, half).correlation[1:].min() > 0.98


def test_following_leaves_an_identity_and_its_scale_alone():
    """A prediction equal to its input, up to a factor, is not changed; empty shells cause no errors."""
    a = np.random.default_rng(6).standard_normal((40, 44, 36)).astype(np.float32)
    np.testing.assert_allclose(limit(a, 3 * a, [], 1.0)[0], 3 * a, atol=1e-4)
    bare = np.zeros_like(a)
    bare[20, 22, 18] = 1
    same = limit(a, np.zeros_like(a), [], 1.0).array
    assert np.isfinite(same).all() and np.isfinite(limit(bare, a, [], 1.0)[0]).all()


def test_what_the_blur_takes_of_low_frequencies_is_given_back():
    """The final result follows the input, not the prediction before it is blurred."""
    a = np.random.default_rng(7).standard_normal((64, 60, 68)).astype(np.float32)
    table = [[2.0, 1.2], [6.0, 1.2]]
    plain, followed = (Shells.of(a, limit(a, a, table, follow)[0]).ratio[FOLLOWED[1]] for follow in (0, 1))
    assert plain > 1.4 and 1 < followed < 1 + (plain - 1) / 2


def test_following_ends_with_the_box():
    """Density at one face of the box has no effect at the opposite face, where another part of the molecule is."""
    array = np.zeros((60, 60, 60), np.float32)
    array[2, 30, 30] = array[57, 30, 30] = 100
    changed = limit(tilted(array), array, [], 1.0)[0] - array
    alone = np.where(np.arange(60)[:, None, None] < 30, array, 0)
    gain = Shells.of(tilted(array), array, molecule(array)).gain(1.0)
    wanted = sharpness._filtered(np.pad(alone, 60), 0.0, gain)[60:-60, 60:-60, 60:-60] - alone
    assert np.abs(changed[:8]).max() > 0.1
    np.testing.assert_allclose(changed[:8, 30, 30], wanted[:8, 30, 30], atol=0.02)


def blob(noise, at=20):
    """Return a textured ball of radius 12 Å around (at, at, at) in a box of 64 Å, in network units, with noise beyond 24 Å."""
    rng = np.random.default_rng(8)
    z, y, x = np.indices((64, 64, 64)) - at
    texture = ndimage.gaussian_filter(rng.standard_normal((64, 64, 64)), 1.2)
    ball = (z * z + y * y + x * x < 144) * (1 + texture / texture.std())
    around = noise * (z * z + y * y + x * x > 576) * rng.standard_normal((64, 64, 64))
    return (ndimage.gaussian_filter(ball, 0.5) + around).astype(np.float32)


def test_noise_around_a_molecule_is_neither_agreed_with_nor_followed():
    """The resolution found is the molecule's; everything around it is blurred as for the coarsest map."""
    predicted, table = blob(0), [[3.0, 0.2], [20.0, 3.0]]
    quiet, noisy = (limit(blob(noise), predicted, table, 0.6) for noise in (0, 0.3))
    assert noisy[1] == quiet[1] < Shells.of(blob(0.3), predicted).agreement()
    around, blurred = blur(predicted, 3.0), blur(predicted, blur_for(noisy[1], table))
    np.testing.assert_allclose(noisy[0][44:], around[44:], atol=1e-6)
    np.testing.assert_allclose(limit(blob(0.3), predicted, table)[0][20, 20, 12:28], blurred[20, 20, 12:28], atol=1e-5)
    assert np.abs(noisy[0] - blurred)[20, 20, 12:28].max() > 0.01


def test_without_a_molecule_all_is_blurred_as_for_the_coarsest_map():
    noise = blob(1) - blob(0)
    result, found, agreed = limit(noise, 0.1 * noise, [[3.0, 0.2], [8.0, 1.5]], 0.6)
    assert found == 20 and agreed is None and molecule(0.1 * noise) is None
    assert np.array_equal(result, blur(0.1 * noise, 1.5))


def test_followed_shells_are_those_of_low_frequency():
    assert FOLLOWED[0] * SHELL < 1 / 20 < 1 / 8 < FOLLOWED[1] * SHELL < 1 / 6
