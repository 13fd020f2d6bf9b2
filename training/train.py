"""Train a generator from a pool of pairs.

    python -m training.train --name unet --hours 2
    python -m training.train --name unet --hours 3            # continues where it stopped
    python -m training.train --name next --start-from unet    # a new run from weights that ship
    python -m training.train --name big --device cuda --size 64 --batch 32 --hours 0.4
    python -m training.train --name paper --architecture generator --target-scale 0.25 \
        --size 25 --batch 16 --rate 1e-3 --objective content --adversarial 1e-3     # as in the paper

runs/NAME/state.pt holds everything needed to resume a run, including its settings, which need not be given again. The learning
rate warms up, and then falls to zero along a cosine over `--hours`, counted over all sessions. Ctrl-C or SIGTERM ends a
session early without loss. The moving average of the weights is what is evaluated and shipped.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from superem import nets

from .command import POOL, as_command
from .data import Pool, batch
from .run import OPTIMISERS, PER_SESSION, Run

#: Seconds between checks of the pool for new shards.
REFRESH = 1.0
#: Shards read before the first step; the others are read during training.
FIRST_SHARDS = 40
#: Settings of `PER_SESSION` that are remembered from the last session unless they are given again.
REMEMBERED = ("hours", "pool")


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, dict | None]:
    """Parse the settings; return them, and the content of state.pt if the run exists.

    Settings of an existing run that are not given are taken from its state.pt.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the run's folder under runs/")
    parser.add_argument("--architecture", default="unet", choices=sorted(nets.ARCHITECTURES))
    parser.add_argument("--options", type=json.loads, default={}, help="JSON, passed to the architecture")
    parser.add_argument("--objective", choices=("fsc", "content"), default="fsc")
    parser.add_argument("--fsc-weight", type=float, default=0.1)
    parser.add_argument("--adversarial", type=float, default=0.0, help="weight of the adversarial term; 1e-3 in the paper")
    parser.add_argument("--hours", type=float, default=2.0, help="length of the whole run, over all sessions")
    parser.add_argument("--optimiser", choices=sorted(OPTIMISERS), default="adam")
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--warm-up", type=int, default=300, help="steps")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--size", type=int, default=40, help="edge of a tile, voxels of 1 Å")
    parser.add_argument("--real", type=float, default=0.3, help="share of tiles from real maps")
    parser.add_argument("--target-scale", type=float, default=1.0,
                        help="HR is multiplied by this; 0.25 keeps it in the 0...1 of the paper's generator")
    parser.add_argument("--clip", type=float, default=0.15, help="largest norm of the gradient")
    parser.add_argument("--average", type=float, default=0.999, help="decay of the moving average of the weights")
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--start-from", metavar="NAME|PATH",
                        help="begin with the weights of a bundled model, of a weights file, or of another run's state.pt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="for convolutions")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="stop after this many steps of this session")
    parser.add_argument("--report", type=int, default=50, help="steps between printed lines")
    options = parser.parse_args(arguments)
    saved = Path("runs") / options.name / "state.pt"
    if not saved.exists():
        return options, None
    state = torch.load(saved, weights_only=True, map_location="cpu")
    parser.set_defaults(**{k: v for k, v in state["config"].items() if k not in PER_SESSION or k in REMEMBERED})
    return parser.parse_args(arguments), state


def main(arguments: list[str] | None = None) -> None:
    """Train until the hours are over or the process is stopped; print a line and save at intervals."""
    options, state = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    run = Run(options, state)
    del state  # frees as much memory as the run itself takes
    rng = np.random.default_rng([options.seed, run.step])
    pools = [
        (Pool(options.pool, "simulated", options.device), 1 - options.real),
        (Pool(options.pool, "real", options.device), options.real),
    ]
    pools = [(p, share) for p, share in pools if share > 0]
    for pool, _ in pools:
        if pool.refresh(FIRST_SHARDS) == 0:
            raise SystemExit(f"No {pool.kind} pairs in {options.pool}: run python -m training.pool first.")
    with stop_event() as stop:
        threading.Thread(target=keep_fresh, args=([p for p, _ in pools], stop), daemon=True).start()
        train(run, pools, rng, stop)
        run.save()
    print(f"{run.folder / 'state.pt'}: {run.step} steps, {run.seconds / 3600:.2f} of {options.hours:g} hours")


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set instead of ending the process; it is set on exit too."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        stop.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def train(run: Run, pools: list[tuple[Pool, float]], rng: np.random.Generator, stop: threading.Event) -> None:
    """Take steps on tiles of `pools`, which come with their shares, until the hours are over or `stop` is set."""
    options = run.options
    sums: dict[str, torch.Tensor] = {}
    began, first, saved = time.monotonic() - run.seconds, run.step, time.monotonic()
    tensors = batch(rng, pools, options.batch, options.size)
    while run.seconds < 3600 * options.hours and not stop.is_set():
        parts = run.train_step(*tensors)
        tensors = batch(rng, pools, options.batch, options.size)  # while the GPU is busy
        for name, value in parts.items():
            sums[name] = sums.get(name, 0) + value
        if run.step % 4 == 0 and options.device.startswith("cuda"):
            torch.cuda.synchronize()  # otherwise the clock runs ahead of the GPU
        run.seconds = time.monotonic() - began
        if options.steps and run.step - first >= options.steps:
            stop.set()
        if run.step % options.report == 0:
            means = "  ".join(f"{k} {float(v) / options.report:.4f}" for k, v in sums.items())
            held = " + ".join(str(sum(map(len, p.shards.values()))) for p, _ in pools)
            print(f"step {run.step}  {run.seconds / 60:.1f} min  rate {run.rate():.2e}  pairs {held}  {means}", flush=True)
            sums = {}
        if time.monotonic() - saved > 60:
            run.save()
            saved = time.monotonic()


def keep_fresh(pools: list[Pool], stop: threading.Event) -> None:
    """Keep reading new shards while training runs."""
    while not stop.wait(REFRESH):
        for pool in pools:
            pool.refresh()


if __name__ == "__main__":
    as_command(main)
