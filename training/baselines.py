"""Baselines that our networks are compared with: B-factor sharpening, and the generator that the paper's authors released."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy.fft import irfftn, rfftn
from superem.core.density import DensityMap
from superem.core.levels import level_for_volume

from .metrics.cache import digest, source
from .metrics.grid import spatial_frequency

#: Coarse limit of Guinier fits, Å: coarser amplitudes reflect the molecule's shape.
GUINIER_START = 10.0
#: Sharpening B-factors are clipped to the range from this to 0, Å².
STRONGEST_B = -300.0


def guinier_b(density: DensityMap, resolution: float) -> float:
    """Return the sharpening B-factor in Å² (negative) that levels the map's radial amplitudes from 10 Å to `resolution`.

    It is fitted by least squares: the slope of ln(mean amplitude) against s², over shells of 0.01 1/Å. The model is not used. The
    result is 0 if the amplitudes do not fall off.
    """
    s = spatial_frequency(density.shape, density.step)
    shell = (s / 0.01).astype(int).ravel()
    amplitude = np.bincount(shell, np.abs(rfftn(density.array)).ravel()) / np.maximum(np.bincount(shell), 1)
    frequency = (np.arange(amplitude.size) + 0.5) * 0.01
    used = (frequency >= 1 / GUINIER_START) & (frequency <= 1 / resolution) & (amplitude > 0)
    slope = np.polyfit(frequency[used] ** 2, np.log(amplitude[used]), 1)[0]
    return float(np.clip(4 * slope, STRONGEST_B, 0.0))


def sharpen(density: DensityMap, resolution: float) -> DensityMap:
    """Sharpen by `guinier_b`, as ChimeraX's `volume sharpen bfactor` does, with a cosine low-pass filter at the resolution.

    The filter falls from 1 at the frequency of the resolution to 0 at 1.15 times that frequency, so that noise beyond it is not
    amplified.
    """
    b = guinier_b(density, resolution)
    s = spatial_frequency(density.shape, density.step)
    edge = np.clip((s * resolution - 1) / 0.15, 0, 1)
    gain = np.exp(-b / 4 * np.minimum(s, 1.15 / resolution) ** 2) * (0.5 + 0.5 * np.cos(np.pi * edge))
    array = irfftn(rfftn(density.array) * gain, density.shape)
    return replace(density, array=array, name=f"{density.name} sharpened")


class ReleasedGenerator:
    """The EM-GAN generator, from a folder that the user checked out (its model.py, utils.py and model/G_model).

    No part of it belongs to this project. Its weights file is a pickle, which can run any code when it is opened; it is opened
    only because the user named the folder. Maps are prepared as its authors describe: the contour level is subtracted, negative
    values are set to 0, and the map is scaled to 0 to 1. The network runs on cubes of 25³ voxels, on a 1 Å grid, whose centre is
    above the contour level; overlapping cubes are averaged.

    The authors use each depositor's recommended contour level. Crops have none, so the level here encloses `fill` times the
    volume of the molecule. That volume comes from the model; no other method uses the model in any way.
    """

    SIZE = 25

    def __init__(self, folder: str | Path, stride: int = 4, fill: float = 1.2, batch: int = 8) -> None:
        folder = Path(folder)
        weights = folder / "model" / "G_model"
        missing = [path.name for path in (folder / "model.py", folder / "utils.py", weights) if not path.exists()]
        if missing:
            raise FileNotFoundError(f"{folder} is no checkout of the released generator: it lacks {', '.join(missing)}.")
        self.stride, self.fill, self.batch = stride, fill, batch
        with _modules_of(folder) as module:
            # 32 channels and five groups of residual blocks, as in the released command line
            self.network = module.Generator(32, 2, 5, False)
        state = torch.load(weights, map_location="cpu", weights_only=False)
        self.network.load_state_dict(state)
        #: Part of the cache key of its results: weights, code and settings.
        self.identity = (digest(weights.read_bytes(), source(folder / "model.py", Path(__file__))), stride, fill)
        self.network.eval().to(memory_format=torch.channels_last_3d)  # same result in two thirds of the time

    @torch.inference_mode()
    def enhance(self, density: DensityMap, volume: float) -> np.ndarray:
        """Return the enhanced array of a map on the 1 Å grid; the molecule's `volume` in Å³ sets the contour level."""
        contour = max(level_for_volume(density.array, self.fill * volume, density.step), 0.0)
        above = np.maximum(density.array - contour, 0)
        top = float(above.max())
        half = self.SIZE // 2
        padded = np.pad(above / top, half)
        centres = np.stack(np.meshgrid(*(np.arange(0, n, self.stride) for n in density.shape), indexing="ij"), -1)
        centres = centres.reshape(-1, 3)
        centres = centres[above[tuple(centres.T)] > 0]
        total = np.zeros(padded.shape, np.float32)
        count = np.zeros(padded.shape, np.float32)
        for first in range(0, len(centres), self.batch):
            cubes = [tuple(slice(c, c + self.SIZE) for c in centre) for centre in centres[first : first + self.batch]]
            stack = torch.from_numpy(np.stack([padded[cube] for cube in cubes])[:, None].astype(np.float32))
            stack = stack.to(memory_format=torch.channels_last_3d)
            for cube, result in zip(cubes, self.network(stack)[:, 0].numpy(), strict=True):
                total[cube] += result
                count[cube] += 1
        inner = (slice(half, -half),) * 3
        return (total / np.maximum(count, 1))[inner] * top


@contextlib.contextmanager
def _modules_of(folder: Path) -> Iterator[ModuleType]:
    """Import `model`, with the `utils` that it needs, from `folder`; restore `sys.path` and `sys.modules` on exit."""
    names = ("model", "utils")
    saved = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("model")
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(saved)
