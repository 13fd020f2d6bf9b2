"""What our networks are compared with: sharpening by a B-factor, and the generator that the paper's authors released."""

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

#: Guinier fits start here, Å: coarser amplitudes are the molecule's shape.
GUINIER_START = 10.0
#: Sharpening B-factors are kept between no sharpening and this, Å².
STRONGEST_B = -300.0


def guinier_b(density: DensityMap, resolution: float) -> float:
    """Sharpening B-factor in Å² (negative) that levels the map's radial amplitudes from 10 Å to `resolution`.

    The slope of ln of the mean amplitude against s², fitted by least squares over shells of 0.01 1/Å; it does not look at the
    model. A map that falls off less than not at all is left alone: 0.
    """
    s = spatial_frequency(density.shape, density.step)
    shell = (s / 0.01).astype(int).ravel()
    amplitude = np.bincount(shell, np.abs(rfftn(density.array)).ravel()) / np.maximum(np.bincount(shell), 1)
    frequency = (np.arange(amplitude.size) + 0.5) * 0.01
    used = (frequency >= 1 / GUINIER_START) & (frequency <= 1 / resolution) & (amplitude > 0)
    slope = np.polyfit(frequency[used] ** 2, np.log(amplitude[used]), 1)[0]
    return float(np.clip(4 * slope, STRONGEST_B, 0.0))


def sharpen(density: DensityMap, resolution: float) -> DensityMap:
    """Sharpen by `guinier_b`, as ChimeraX's `volume sharpen bfactor`, with a cosine low-pass edge at the resolution.

    The edge, from the resolution to 1.15 times its frequency, keeps what is only noise from being raised without bound.
    """
    b = guinier_b(density, resolution)
    s = spatial_frequency(density.shape, density.step)
    edge = np.clip((s * resolution - 1) / 0.15, 0, 1)
    gain = np.exp(-b / 4 * np.minimum(s, 1.15 / resolution) ** 2) * (0.5 + 0.5 * np.cos(np.pi * edge))
    array = irfftn(rfftn(density.array) * gain, density.shape)
    return replace(density, array=array, name=f"{density.name} sharpened")


class ReleasedGenerator:
    """The EM-GAN generator from a folder that the user checked out (its model.py, utils.py and model/G_model).

    Nothing of it is part of this project. Its weights file is a pickle, so opening it can run any code in it: it is opened
    only because the user named the folder. Map preparation follows its description: the contour level is subtracted,
    negatives are cut, the map is scaled to 0 to 1; cubes of 25³ on a 1 Å grid are used whose centre is above the contour;
    where cubes overlap, they are averaged.

    The authors give each map its depositor's recommended contour level. Crops have none, so it is the level that encloses
    `fill` times the volume of the molecule: the only thing here that looks at the model, which no other method is told.
    """

    SIZE = 25

    def __init__(self, folder: str | Path, stride: int = 4, fill: float = 1.2, batch: int = 8) -> None:
        folder = Path(folder)
        weights = folder / "model" / "G_model"
        if not weights.exists() or not (folder / "model.py").exists():
            raise FileNotFoundError(f"{folder} is no checkout of the released generator: model.py or model/G_model is missing.")
        self.stride, self.fill, self.batch = stride, fill, batch
        with _modules_of(folder) as module:
            # 32 channels, five groups of residual blocks: the values of the released command line
            self.network = module.Generator(32, 2, 5, False)
        state = torch.load(weights, map_location="cpu", weights_only=False)
        self.network.load_state_dict(state)
        #: Tells one way of running it from another, for what is kept of its maps.
        self.identity = (digest(weights.read_bytes(), source(folder / "model.py", Path(__file__))), stride, fill)
        self.network.eval().to(memory_format=torch.channels_last_3d)  # the same numbers, in two thirds of the time

    @torch.inference_mode()
    def enhance(self, density: DensityMap, volume: float) -> np.ndarray:
        """Enhanced array of a map on the 1 Å grid; `volume` of the molecule in Å³ sets the contour level."""
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
    """Import `model` and the `utils` that it needs from `folder`, and leave no trace of either name."""
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
