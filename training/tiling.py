"""Measure the time that each tiling takes, and its error against the paper's dense tiling.

    python -m training.tiling demo/data/emd_1461_vp6.mrc.gz --model unet

Every tiling is compared with a dense reference by the same network: tiles of 48 voxels with a stride of 4, as in the paper,
averaged without a window inside a margin of 8, so that no tile faces are visible. The error is the root mean square difference
inside the molecule, relative to the standard deviation of the reference there. No tiles are skipped, so that times can be
compared.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from superem.core.density import DensityMap
from superem.core.mrc import read_mrc
from superem.core.normalise import NORMALISATIONS
from superem.core.predict import enhance
from superem.core.resample import resample
from superem.core.tiles import PRESETS, Tiling, tiling_for
from superem.nets.store import DEFAULT, Model, load

from .command import as_command

DENSE = Tiling(48, 4, 8, "mean")
MOLECULE = 0.3  # network units; voxels above this count as inside the molecule


def compare(density: DensityMap, model: Model) -> list[tuple[str, float, float]]:
    """Return name, relative error and seconds of the dense reference and of each preset, on a map of 1 Å voxels."""
    card = model.card
    molecule = NORMALISATIONS[card.normalisation](density.array).apply(density.array) > MOLECULE
    tilings: dict[str, str | Tiling] = {"48/4 mean": DENSE}
    for name in PRESETS:
        preset = tiling_for(name, card.tile, card.margin)
        tilings[f"{name} {preset.size}/{preset.stride}"] = preset
    rows, reference = [], None
    for name, tiling in tilings.items():
        began = time.monotonic()
        array = enhance(density, model, tiling=tiling, device="cpu", skip_empty=False).density.array[molecule]
        seconds = time.monotonic() - began
        reference = array if reference is None else reference
        rows.append((name, float(np.sqrt(np.mean((array - reference) ** 2)) / reference.std()), seconds))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print one row per tiling: its error, its time, and how many times faster than the reference it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--crop", type=int, default=64, help="edge of the cube in the middle that is used, voxels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    density = resample(read_mrc(options.map))
    middle = tuple(slice(max(0, (n - options.crop) // 2), (n + options.crop) // 2) for n in density.array.shape)
    rows = compare(DensityMap(density.array[middle]), load(options.model))
    print(f"{'tiling':16} {'error':>8} {'seconds':>8} {'faster':>7}")
    for name, error, seconds in rows:
        print(f"{name:16} {error:8.4f} {seconds:8.1f} {rows[0][2] / seconds:6.0f}x")


if __name__ == "__main__":
    as_command(main)
