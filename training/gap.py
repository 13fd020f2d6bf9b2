"""Compare a network's loss on training and validation data, to find whether compute, data or realism limits it.

    python -m training.gap --data ../data --pool runs/pool --weights unet other.safetensors

Tiles come from simulated pairs of a pool, from train maps and from validation maps. They are drawn in the same way from each,
and are the same for every network. The loss is the trainer's (`training/losses.py`): content, and 1 - FSC by shell. "input" is
the loss of the unchanged map. A network that gains on simulated pairs or train maps, but not on validation maps, is limited by
realism or data; one that gains equally on all needs more training. Compare gains, not losses, since the quality of maps and
their models differs.

Mirrored tiles are of the wrong hand, which costs any network some of its gain. One that has learned its train maps by heart loses
more than that on mirrored train maps, which it has never seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from superem.nets.store import DEFAULT, load

from .command import POOL, as_command
from .data import cut_tile, to_device
from .losses import content, shell_disagreement
from .metrics.tables import table
from .pairs import read_split, stream
from .pool import read_shard
from .simulate import Pair

SIZE = 64
Network = Callable[[torch.Tensor], torch.Tensor]


def losses(
    networks: dict[str, Network], pairs: list[Pair], rng: np.random.Generator, mirror: bool = False,
) -> dict[str, np.ndarray]:
    """Return each network's mean content loss and mean 1 - FSC, (2,), over one tile of `SIZE`³ voxels from each pair.

    With `mirror`, the same tiles are mirrored.

    Tiles without density in HR are left out, since they have no FSC.
    """
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    for pair in pairs:
        tile = cut_tile(rng, to_device(pair), SIZE).float()
        lr, hr, trusted = (tile.flip(-1) if mirror else tile)[:, None, None]
        resolution = torch.tensor([pair.resolution])
        if shell_disagreement(lr, hr, trusted, resolution) == 0:
            continue
        for name, network in networks.items():
            with torch.no_grad():
                sr = network(lr)
            rows[name].append((float(content(sr, hr, trusted)), float(shell_disagreement(sr, hr, trusted, resolution))))
    return {name: np.mean(values, axis=0) for name, values in rows.items()}


def simulated(pool: Path, count: int, rng: np.random.Generator) -> list[Pair]:
    """Return `count` pairs drawn from the shards of a pool."""
    shards = sorted(pool.glob("simulated-*.npz"))
    if not shards:
        raise SystemExit(f"No simulated pairs in {pool}: run python -m training.pool first.")
    drawn = [read_shard(shards[n]) for n in rng.integers(len(shards), size=count)]
    return [shard[rng.integers(len(shard))] for shard in drawn]


def main(arguments: list[str] | None = None) -> None:
    """Print one row for each source of tiles, and one for its tiles mirrored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../data"))
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--weights", nargs="+", default=[DEFAULT], help="names of bundled models, or weights files")
    parser.add_argument("--tiles", type=int, default=48, help="tiles from each source (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    networks: dict[str, Network] = {"input": lambda lr: lr} | {w: load(w).network for w in options.weights}
    rng = np.random.default_rng(options.seed)
    sources = {"simulated pairs": simulated(options.pool, options.tiles, rng)}
    for split in ("train", "validation"):
        maps = read_split(options.data / "maps", split)
        sources[f"{split} maps"] = list(islice(stream(rng, maps), options.tiles))
    rows = []
    for source, pairs in sources.items():
        for mirror in (False, True):
            means = losses(networks, pairs, np.random.default_rng(options.seed), mirror)
            rows.append([source + ", mirrored" * mirror, *(f"{c:.4f}, {f:.3f}" for c, f in means.values())])
    print(table(["content, 1 - FSC", *networks], rows))


if __name__ == "__main__":
    as_command(main)
