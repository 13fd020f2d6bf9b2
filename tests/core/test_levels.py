"""Contour levels and the volumes they enclose are each other's inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from superem.core.levels import enclosed_volume, level_for_volume


@given(seed=st.integers(0, 99), count=st.integers(1, 210), step=st.tuples(*[st.floats(0.5, 3)] * 3))
def test_level_encloses_the_volume_asked_for(seed, count, step):
    array = np.random.default_rng(seed).normal(size=(5, 6, 7)).astype(np.float32)
    volume = count * np.prod(step)
    level = level_for_volume(array, volume, step)
    assert enclosed_volume(array, level, step) == pytest.approx(volume)


def test_the_ends_of_the_range():
    array = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert enclosed_volume(array, level_for_volume(array, 0, (1, 1, 1)), (1, 1, 1)) == 0
    assert level_for_volume(array, 1000, (1, 1, 1)) == 0
    assert level_for_volume(array, 3 * 1.5, (1, 1, 1.5)) == 5
