"""Tests of the baselines that our networks are compared with."""

import sys

import numpy as np
import pytest
import torch
from superem.core.density import DensityMap

from training import baselines
from training.metrics.grid import spatial_frequency


def test_sharpening_levels_amplitudes_but_never_blurs():
    """A map blurred by B = 150 Å² is sharpened by as much; one that needs no sharpening is not changed."""
    rng = np.random.default_rng(1)
    shape = (64, 64, 64)
    s = spatial_frequency(shape, (1.0, 1.0, 1.0))
    white = np.fft.rfftn(rng.standard_normal(shape))

    def filtered(b):
        return DensityMap(np.fft.irfftn(white * np.exp(-b / 4 * s**2), shape))

    assert baselines.guinier_b(filtered(150), 4.0) == pytest.approx(-150, abs=10)
    assert baselines.guinier_b(filtered(-80), 4.0) == 0
    sharp = baselines.sharpen(filtered(150), 4.0)
    ratio = np.abs(np.fft.rfftn(sharp.array)) / np.abs(white)
    assert np.median(ratio[(s > 0.1) & (s < 0.24)]) == pytest.approx(1, abs=0.1)
    assert ratio[s > 0.3].max() < 1e-3


def test_a_folder_without_the_released_generator_is_refused(tmp_path):
    """The error says what is missing."""
    with pytest.raises(FileNotFoundError, match="no checkout of the released generator: it lacks model.py, utils.py, G_model"):
        baselines.ReleasedGenerator(tmp_path)


def test_released_generator_tiles_average_to_the_prediction(tmp_path):
    """With a stand-in that returns its input, the result is the map above its contour level; no imported module remains."""
    (tmp_path / "utils.py").write_text("")
    (tmp_path / "model.py").write_text(
        "import torch, utils\nclass Generator(torch.nn.Module):\n    def __init__(self, *a):\n        super().__init__()\n"
        "        self.gain = torch.nn.Parameter(torch.zeros(1))\n    def forward(self, x):\n        return self.gain * x\n")
    (tmp_path / "model").mkdir()
    torch.save({"gain": torch.ones(1)}, tmp_path / "model" / "G_model")
    array = np.random.default_rng(0).random((20, 30, 26)).astype(np.float32)
    density = DensityMap(array, (1, 2, 3))
    result = baselines.ReleasedGenerator(tmp_path, stride=5, fill=1.5).enhance(density, 0.2 * array.size)
    contour = np.sort(array.ravel())[::-1][round(0.3 * array.size) - 1]
    assert result == pytest.approx(np.maximum(array - contour, 0), abs=1e-5)
    assert "model" not in sys.modules and "utils" not in sys.modules
