"""Cut training tiles from a pool of pairs: at random positions, in the grid's 24 proper rotations, never mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from superem.core.runner import ROTATIONS

from .pool import read_shard
from .simulate import Pair

#: Number of the molecule's voxels stored with each pair, to centre tiles on.
CENTRES_PER_PAIR = 64


@dataclass(frozen=True)
class PooledPair:
    """One pair on the trainer's device.

    LR, HR and trust (0 to 1) as (3, n, n, n) float16; voxels of the molecule that tiles are centred near, (m, 3) zyx; resolution
    in Å.
    """

    density: torch.Tensor
    centres: np.ndarray
    resolution: float


def to_device(pair: Pair, device: str = "cpu") -> PooledPair:
    """Move a pair to a device, and choose up to `CENTRES_PER_PAIR` evenly spaced voxels (zyx) of its molecule."""
    trusted = np.ones_like(pair.hr) if pair.trusted is None else pair.trusted.astype(np.float16) / np.float16(255)
    molecule = np.flatnonzero(pair.hr > 0.3)
    chosen = molecule[np.linspace(0, len(molecule) - 1, min(CENTRES_PER_PAIR, len(molecule))).astype(int)]
    centres = np.stack(np.unravel_index(chosen, pair.hr.shape), axis=1)
    density = torch.from_numpy(np.stack([pair.lr, pair.hr, trusted]))
    return PooledPair(density.to(device), centres, pair.resolution)


class Pool:
    """Pairs of one kind, held in memory or on a GPU, and updated from new or changed shards in a folder."""

    def __init__(self, folder: Path, kind: str, device: str = "cpu") -> None:
        self.folder, self.kind, self.device = folder, kind, device
        self.seen: dict[Path, float] = {}
        self.shards: dict[Path, list[PooledPair]] = {}
        self.retired: list[list[PooledPair]] = []
        # a CUDA stream of its own, so that copying does not wait for a training step to finish
        self.stream = torch.cuda.Stream(device) if device.startswith("cuda") else None

    def refresh(self, most: int = 8) -> int:
        """Read up to `most` new or changed shards, oldest first; return the number of pairs now held.

        A shard that cannot be read is reported, and skipped until it changes.
        """
        found = [(p.stat().st_mtime, p) for p in sorted(self.folder.glob(f"{self.kind}-*.npz"))]
        new = sorted(f for f in found if self.seen.get(f[1]) != f[0])[:most]
        self.retired = [self.shards[path] for _, path in new if path in self.shards]  # a training step may still be using them
        for stamp, path in new:
            self.seen[path] = stamp
            try:
                pairs = read_shard(path)
            except (OSError, ValueError, KeyError, BadZipFile) as error:
                print(f"{path} cannot be read, and is left out: {error}", flush=True)
                continue
            with torch.cuda.stream(self.stream):
                held = [to_device(p, self.device) for p in pairs]
            if self.stream:
                self.stream.synchronize()
            self.shards[path] = held
        return sum(len(s) for s in self.shards.values())

    def draw(self, rng: np.random.Generator) -> PooledPair:
        """Return a random pair: every shard is equally likely, and so is every pair in it."""
        shards = list(self.shards.values())
        shard = shards[rng.integers(len(shards))]
        return shard[rng.integers(len(shard))]


def cut_tile(rng: np.random.Generator, pair: PooledPair, size: int) -> torch.Tensor:
    """Return LR, HR and trust of one randomly placed and rotated tile, (3, size, size, size) float16.

    Most tiles are centred near the molecule; the rest may lie anywhere, so that the network learns solvent too. Beyond the
    pair's box, a tile is zero and not trusted.
    """
    shape = np.array(pair.density.shape[1:])
    if len(pair.centres) and rng.random() < 0.85:
        centre = pair.centres[rng.integers(len(pair.centres))] + rng.integers(-size // 4, size // 4 + 1, 3)
    else:
        centre = rng.integers(0, shape)
    start = np.clip(centre - size // 2, np.minimum(0, shape - size), np.maximum(0, shape - size))
    inside = tuple(slice(max(a, 0), a + size) for a in start)
    part = pair.density[(slice(None), *inside)]
    if (shape < size).any():
        before = [max(-a, 0) for a in start]
        after = [size - b - n for b, n in zip(before, part.shape[1:], strict=True)]
        sides = [int(x) for b, a in zip(reversed(before), reversed(after), strict=True) for x in (b, a)]
        part = torch.nn.functional.pad(part, sides)
    return turn(part, int(rng.integers(24)))


def turn(tile: torch.Tensor, which: int) -> torch.Tensor:
    """Apply one of the cube's 24 proper rotations to the last three axes of a (c, n, n, n) tensor."""
    order, reverse = ROTATIONS[which]
    return tile.permute(0, *(1 + a for a in order)).flip([1 + a for a in reverse])


def batch(rng: np.random.Generator, pools: list[tuple[Pool, float]], tiles: int, size: int) -> tuple[torch.Tensor, ...]:
    """Draw tiles from `pools`, which are given with their shares.

    Returns (tiles, 1, size, size, size) float32 tensors of LR, HR and trust, and (tiles,) resolutions (Å), on the pools' device.
    """
    shares = np.array([s for _, s in pools])
    stack, resolutions = [], []
    for _ in range(tiles):
        pair = pools[rng.choice(len(pools), p=shares / shares.sum())][0].draw(rng)
        stack.append(cut_tile(rng, pair, size))
        resolutions.append(pair.resolution)
    block = torch.stack(stack).float()
    return block[:, 0:1], block[:, 1:2], block[:, 2:3], torch.tensor(resolutions).to(block)
