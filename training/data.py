"""Tiles from a pool of pairs: random places, the 24 proper rotations of the grid, no mirrors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from superem.core.predict import ROTATIONS

from .pool import read_shard
from .simulate import Pair


class Pool:
    """Pairs of one kind held in memory, refreshed from the shards that appear or change in a folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.seen: dict[Path, float] = {}
        self.shards: dict[Path, list[Pair]] = {}

    def refresh(self, most: int = 8) -> int:
        """Read up to `most` new shards; the number of pairs now held."""
        found = [(p.stat().st_mtime, p) for p in sorted(self.folder.glob(f"{self.kind}-*.npz"))]
        for stamp, path in sorted(f for f in found if self.seen.get(f[1]) != f[0])[:most]:
            self.shards[path], self.seen[path] = read_shard(path), stamp
        return sum(len(s) for s in self.shards.values())

    def draw(self, rng: np.random.Generator) -> Pair:
        """Any pair, each as often as any other."""
        shard = self.shards[list(self.shards)[rng.integers(len(self.shards))]]
        return shard[rng.integers(len(shard))]


def cut_tile(rng: np.random.Generator, pair: Pair, size: int) -> np.ndarray:
    """Low, high and trusted density of one randomly placed and turned tile, (3, size, size, size) float32.

    Most tiles are centred near the molecule; the rest may lie anywhere, so that solvent is learned too.
    """
    shape = np.array(pair.lr.shape)
    molecule = np.argwhere(pair.hr > 0.3)
    if len(molecule) and rng.random() < 0.85:
        centre = molecule[rng.integers(len(molecule))] + rng.integers(-size // 4, size // 4 + 1, 3)
    else:
        centre = rng.integers(0, shape)
    start = np.clip(centre - size // 2, np.minimum(0, shape - size), np.maximum(0, shape - size))
    source = tuple(slice(max(a, 0), a + size) for a in start)
    target = tuple(slice(max(-a, 0), max(-a, 0) + min(size, n - max(a, 0))) for a, n in zip(start, shape, strict=True))
    tile = np.zeros((3, size, size, size), np.float32)
    tile[(0, *target)], tile[(1, *target)] = pair.lr[source], pair.hr[source]
    tile[(2, *target)] = 1 if pair.trusted is None else pair.trusted[source] / np.float32(255)
    return turn(tile, int(rng.integers(24)))


def turn(tile: np.ndarray, which: int) -> np.ndarray:
    """Apply one of the cube's 24 proper rotations to the last three axes of (c, n, n, n)."""
    order, reverse = ROTATIONS[which]
    turned = np.flip(np.transpose(tile, (0, *(1 + a for a in order))), [1 + a for a in reverse])
    return np.ascontiguousarray(turned)


def batch(rng: np.random.Generator, pools: list[tuple[Pool, float]], tiles: int, size: int) -> tuple[torch.Tensor, ...]:
    """Draw (tiles, 1, size, size, size) tensors of LR, HR and trust, and (tiles,) resolutions (Å).

    `pools` come with their shares.
    """
    shares = np.array([s for _, s in pools])
    stack, resolutions = [], []
    for _ in range(tiles):
        pool = pools[rng.choice(len(pools), p=shares / shares.sum())][0]
        pair = pool.draw(rng)
        stack.append(cut_tile(rng, pair, size))
        resolutions.append(pair.resolution)
    block = torch.from_numpy(np.stack(stack))
    return block[:, 0:1], block[:, 1:2], block[:, 2:3], torch.tensor(resolutions)
