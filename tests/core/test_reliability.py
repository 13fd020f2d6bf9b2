"""Tests of the expected Q-score, on densities with known local detail."""

import numpy as np
import pytest
from superem.core import reliability
from superem.core.density import DensityMap, MapError
from superem.core.predict import enhance
from superem.core.reliability import expected_q, local_detail

TABLE = [[0.0, 0.0], [0.1, 0.3], [0.3, 0.7]]


def waves(n: int) -> np.ndarray:
    """Return density (n, n, n) that oscillates along z with a period of 3 Å, three times as strongly in the upper half."""
    z = np.arange(n)
    strength = np.where(z < z[-1] / 2, 0.1, 0.3)
    wave = np.sqrt(2) * np.sin(2 * np.pi * z / 3)
    return (1 + np.broadcast_to(strength * wave, (n, n, n)).T).astype(np.float32)


def test_detail_is_the_local_standard_deviation():
    """It is 0 where the density is constant."""
    detail = local_detail(waves(48))
    low, high = detail[12], detail[36]
    assert low == pytest.approx(0.1, rel=0.03) and high == pytest.approx(0.3, rel=0.03)
    assert local_detail(np.full((20, 20, 20), 5, np.float32)).max() < 2e-3


def test_a_strong_place_says_nothing_of_one_far_from_it():
    array = np.zeros((40, 40, 40), np.float32)
    array[5, 20, 20] = 50
    detail = local_detail(array)
    assert detail[5, 20, 20] > 1
    assert detail[5 + round(5 * reliability.WINDOW), 20, 20] < 1e-3


def test_q_follows_the_table_and_stays_in_it():
    q = expected_q(waves(48), TABLE)
    assert q[12] == pytest.approx(0.3, abs=0.02) and q[36] == pytest.approx(0.7, abs=0.02)
    assert expected_q(10 * waves(48), TABLE).max() == pytest.approx(0.7)
    assert q.dtype == np.float32


@pytest.mark.parametrize("grid", ["1A", "input"])
def test_a_run_gives_it_on_the_grid_of_the_result(make_model, make_blob, grid):
    """It is low in the solvent, high at the molecule, and does not depend on the map's scale."""
    blob = make_blob((40, 36, 44), (3.0, -8.0, 11.0), (0.9, 0.9, 0.9), (22, 8, 29), sigma=3)
    model = make_model(reliability=TABLE)
    first = enhance(blob, model, grid=grid, reliability=True, device="cpu")
    q = first.reliability
    assert (q.shape, q.origin, q.step) == (first.density.shape, first.density.origin, first.density.step)
    peak = np.unravel_index(first.density.array.argmax(), q.shape)
    assert q.array[0, 0, 0] < 0.02 < 0.4 < q.array[peak]
    scaled = DensityMap(1000 * blob.array, blob.origin, blob.step)
    assert enhance(scaled, model, grid=grid, reliability=True, device="cpu").reliability.array == pytest.approx(q.array, abs=1e-3)
    assert enhance(blob, model, device="cpu").reliability is None


def test_a_model_without_a_table_says_so(make_model, make_blob):
    blob = make_blob((20, 20, 20), (0, 0, 0), (1, 1, 1), (10, 10, 10))
    with pytest.raises(MapError, match="does not tell where it is reliable"):
        enhance(blob, make_model(), reliability=True, device="cpu")
