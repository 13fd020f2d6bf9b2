"""Fill a folder with training pairs, and keep replacing them while a trainer reads it.

    python -m training.pool --kind simulated --data ../data --pool runs/pool
    python -m training.pool --kind real --data ../data --pool runs/pool

Each shard is one file, written atomically. Its name starts with the kind of pair.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from superem.core.files import replaced

from . import pairs, simulate
from .command import POOL, STRUCTURES, as_command
from .simulate import Pair
from .structures import load_structures


def write_shard(path: Path, shard: list[Pair]) -> None:
    """Save pairs, whose sizes may differ, as one uncompressed npz file."""
    arrays = {}
    for i, pair in enumerate(shard):
        arrays[f"lr{i}"], arrays[f"hr{i}"] = pair.lr, pair.hr
        if pair.trusted is not None:
            arrays[f"trusted{i}"] = pair.trusted
    with replaced(path) as part, open(part, "wb") as out:
        np.savez(out, resolution=np.array([p.resolution for p in shard], np.float32), **arrays)


def read_shard(path: Path) -> list[Pair]:
    """Read the pairs of one shard."""
    with np.load(path) as arrays:
        return [
            Pair(arrays[f"lr{i}"], arrays[f"hr{i}"], arrays.get(f"trusted{i}"), float(d))
            for i, d in enumerate(arrays["resolution"])
        ]


def endless(kind: str, data: Path, seed: int | None) -> Iterator[Pair]:
    """Return an endless stream of pairs of one kind, from the structures or the train maps under `data`.

    Without a seed, the pairs differ each time.
    """
    rng = np.random.default_rng(seed)
    if kind == "real":
        return pairs.stream(rng, pairs.read_split(data / "maps", "train"))
    return simulate.stream(rng, load_structures(data / "structures", STRUCTURES))


def main(arguments: list[str] | None = None) -> None:
    """Write shards until the time is over; once all numbers are used, the oldest shards are replaced."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kind", choices=("simulated", "real"), required=True)
    parser.add_argument("--data", type=Path, default=Path("../data"))
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--shards", type=int, default=60, help="how many files to rotate through")
    parser.add_argument("--pairs", type=int, default=16, help="pairs a shard")
    parser.add_argument("--seconds", type=float, default=600, help="time to run")
    parser.add_argument("--seed", type=int, help="a number makes the same pairs whenever it is given (other pairs each time)")
    options = parser.parse_args(arguments)
    source = endless(options.kind, options.data, options.seed)
    options.pool.mkdir(parents=True, exist_ok=True)
    end, written = time.monotonic() + options.seconds, 0
    try:
        while time.monotonic() < end:
            name = f"{options.kind}-{options.first + written % options.shards:05d}.npz"
            write_shard(options.pool / name, [next(source) for _ in range(options.pairs)])
            written += 1
    except KeyboardInterrupt:  # shards that have been written are complete
        pass
    print(f"{written} shards of {options.pairs} {options.kind} pairs in {options.pool}")


if __name__ == "__main__":
    as_command(main)
