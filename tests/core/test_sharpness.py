"""The agreement of input and prediction, and the blur that follows from it."""

import numpy as np
import pytest
from scipy import ndimage
from superem.core.sharpness import agreement_resolution, blur, blur_for, limit


def low_pass(array, resolution):
    """Fourier cut at a resolution (Å) on a 1 Å grid."""
    s = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n) for n in array.shape], indexing="ij")))
    return np.fft.ifftn(np.fft.fftn(array) * (s < 1 / resolution)).real


@pytest.mark.parametrize("resolution", [2.8, 4.0, 6.5])
def test_agreement_ends_where_common_detail_ends(resolution):
    """Two maps that share all detail to a resolution, and nothing beyond it."""
    rng = np.random.default_rng(0)
    common, one, other = (rng.standard_normal((48, 40, 44)) for _ in range(3))
    a, b = (low_pass(common, resolution) + x - low_pass(x, resolution) for x in (one, other))
    assert agreement_resolution(a, b) == pytest.approx(resolution, rel=0.08)
    assert agreement_resolution(a, a) == 2.0


def test_agreement_does_not_depend_on_scale_or_sharpening():
    """Correlations by shell see neither."""
    rng = np.random.default_rng(1)
    a = low_pass(rng.standard_normal((40, 40, 40)), 3) + 0.05 * rng.standard_normal((40, 40, 40))
    b = a + 0.2 * rng.standard_normal(a.shape)
    assert agreement_resolution(a, b) == agreement_resolution(7 * ndimage.gaussian_filter(a, 0.8, mode="wrap"), b)


def test_blur_is_a_gaussian_and_leaves_no_wrap_around():
    """Against scipy, borders included; a sigma of 0 returns the array itself."""
    array = np.random.default_rng(0).random((20, 23, 17)).astype(np.float32)
    wanted = ndimage.gaussian_filter(array, 1.2, mode="constant", truncate=6)
    np.testing.assert_allclose(blur(array, 1.2), wanted, atol=2e-3)
    assert blur(array, 0) is array


def test_tables_are_interpolated_and_end_flat():
    """No table, no blur."""
    table = [[3.0, 0.2], [4.0, 0.6]]
    assert blur_for(3.5, table) == pytest.approx(0.4)
    assert blur_for(1.0, table) == 0.2 and blur_for(9.0, table) == 0.6
    assert blur_for(4.0, []) == 0


def test_limit_finds_what_it_is_not_told_and_blurs_by_it():
    a = np.random.default_rng(3).standard_normal((32, 32, 32)).astype(np.float32)
    b = a + 0.5 * np.random.default_rng(4).standard_normal(a.shape).astype(np.float32)
    table = [[2.0, 0.4], [6.0, 1.2]]
    told, resolution = limit(a, b, table, 4.0)
    assert resolution == 4.0
    assert np.array_equal(told, blur(b, 0.8))
    found, resolution = limit(a, b, table)
    assert resolution == agreement_resolution(a, b)
    assert np.array_equal(found, blur(b, blur_for(resolution, table)))
    same, resolution = limit(a, b, [])
    assert same is b and resolution is None
