"""Train a generator from a pool of pairs.

    python -m training.train --name unet --hours 2
    python -m training.train --name unet --hours 3            # goes on where it left off
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
import copy
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from superem.core.files import replaced
from superem.nets.store import load

from superem import nets

from .command import POOL, as_command
from .data import Pool, batch
from .losses import content, shell_disagreement
from .muon import Muon

OPTIMISERS = {"adam": torch.optim.Adam, "muon": Muon}
#: Seconds between checks of the pool for new shards.
REFRESH = 1.0
#: Shards read before the first step; the others are read during training.
FIRST_SHARDS = 40
#: Settings that may differ between the sessions of a run.
PER_SESSION = ("hours", "pool", "start_from", "threads", "device", "steps", "report")
#: Those of them that are remembered from the last session unless they are given again.
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


class Run:
    """A network in training, and all that is saved and restored: a new run from `options`, or one resumed from `state`."""

    def __init__(self, options: argparse.Namespace, state: dict | None) -> None:
        self.options = options
        self.folder = Path("runs") / options.name
        torch.manual_seed(options.seed)
        if state:
            self.check_settings(state["config"])
        try:
            self.network = nets.build(options.architecture, **options.options).to(options.device)
        except (ValueError, AssertionError, RuntimeError) as error:  # bad options, or a missing device
            raise SystemExit(f"--architecture, --options or --device: {error}") from None
        self.network.to(memory_format=torch.channels_last_3d)
        self.before = {"steps": 0, "seconds": 0.0}  # of the run that this one was started from
        self.voxels: int | None = 0  # seen, with those of that run; None if an older state did not count them
        if options.start_from and not state:
            self.load_weights(options.start_from)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = OPTIMISERS[options.optimiser](self.network.parameters(), options.rate)
        self.critic = Critic(options) if options.adversarial else None
        self.step, self.seconds = 0, 0.0
        if state:
            self.restore(state)

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        parts = {"network": self.network, "average": self.average, "optimiser": self.optimiser}
        if self.critic:
            parts |= {"critic": self.critic.network, "critic_optimiser": self.critic.optimiser}
        return parts

    def check_settings(self, before: dict) -> None:
        """Report settings that differ from the run's last session, and refuse those that would make it another run."""
        before = {"optimiser": "adam"} | before  # states from before there was a choice
        changed = [f"--{name.replace('_', '-')} {value} (was {before[name]})" for name, value in self.config().items()
                   if name not in PER_SESSION and name in before and value != before[name]]
        if any(option.startswith(("--architecture ", "--options ", "--adversarial ", "--optimiser ")) for option in changed):
            raise SystemExit(f"{self.folder} holds another run: {', '.join(changed)}. Use the earlier settings, or another"
                             " --name.")
        if changed:
            print(f"{self.folder} continues with other settings: {', '.join(changed)}", flush=True)
        self.options.start_from = before.get("start_from")

    def config(self) -> dict:
        """Return the run's settings as stored in state.pt."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self.options).items()}

    def load_weights(self, source: str) -> None:
        """Load the weights of a bundled model, of a weights file, or the averaged weights of a run's state.pt.

        From a state.pt, the counts of steps, seconds and voxels continue. The network may be deeper than the source: additional
        residual blocks begin as the identity.
        """
        run = source.endswith(".pt")
        state = torch.load(source, weights_only=True, map_location="cpu") if run else {}
        weights = state["average"] if run else load(source).network.state_dict()
        try:
            missing, unknown = self.network.load_state_dict(weights, strict=False)
        except RuntimeError:  # layers of other sizes
            missing, unknown = [], ["sizes"]
        if unknown or any("blocks" not in name for name in missing):
            raise SystemExit(f"{source} is of another network; what may differ is its depth.")
        if not run:
            return
        self.voxels = state.get("voxels")
        self.before = {key: state[own] + state["before"][key] for key, own in (("steps", "step"), ("seconds", "seconds"))}

    def save(self) -> None:
        """Write state.pt atomically, so that an interrupted save loses nothing."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        config = self.config()
        self.folder.mkdir(parents=True, exist_ok=True)
        on = self.options.device
        threads = f"{self.options.threads} CPU thread{'s' * (self.options.threads > 1)}"
        config["device"] = torch.cuda.get_device_name(on) if on.startswith("cuda") else threads
        own = {"step": self.step, "seconds": self.seconds, "before": self.before, "voxels": self.voxels, "config": config}
        with replaced(self.folder / "state.pt") as part:
            torch.save(state | own, part)

    def restore(self, state: dict) -> None:
        """Restore what `save` wrote."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.seconds, self.before = state["step"], state["seconds"], state["before"]
        self.voxels = state.get("voxels")

    def rate(self) -> float:
        """Return the learning rate at this step and time."""
        done = min(1.0, self.seconds / (3600 * self.options.hours))
        return self.options.rate * min(1, (self.step + 1) / self.options.warm_up) * 0.5 * (1 + math.cos(math.pi * done))

    def train_step(
        self, lr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor, resolution: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Take one optimiser step on (B, 1, n, n, n) tensors and (B,) resolutions (Å); return the parts of the loss.

        The parts stay on the device, so that the call does not wait for a GPU.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        hr = hr * self.options.target_scale
        self.network.train()
        with torch.autocast(self.options.device.split(":")[0], torch.bfloat16, enabled=self.options.bfloat16):
            sr = self.network(lr.contiguous(memory_format=torch.channels_last_3d))
        sr = sr.float()
        parts = {"content": content(sr, hr, trusted)}
        loss = parts["content"]
        if self.options.objective == "fsc":
            parts["fsc"] = shell_disagreement(sr, hr, trusted, resolution)
            loss = loss + self.options.fsc_weight * parts["fsc"]
        if self.critic:
            parts["critic"] = self.critic.learn(sr.detach() * trusted, hr * trusted)
            parts["adversarial"] = self.critic.loss(sr * trusted, real=True)
            loss = loss + self.options.adversarial * parts["adversarial"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parts["norm"] = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        for parameter in self.network.parameters():
            parameter.grad.nan_to_num_(0, 0, 0)  # an overflowed gradient counts as 0, which leaves the momentum
        self.optimiser.step()
        decay = min(self.options.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        self.step += 1
        self.voxels = None if self.voxels is None else self.voxels + lr.numel()
        return {name: part.detach() for name, part in parts.items()}


class Critic:
    """The paper's discriminator in training: it learns to tell SR from HR, while the generator learns to deceive it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.network = nets.build("discriminator").to(options.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), options.rate)

    def loss(self, density: torch.Tensor, real: bool) -> torch.Tensor:
        """Return the softmax cross-entropy of its verdict on (B, 1, n, n, n) density, if the true label were `real`."""
        logits = self.network(density)
        return torch.nn.functional.cross_entropy(logits, torch.full((len(logits),), int(real), device=logits.device))

    def learn(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        """Take one step of its own optimiser; return the loss."""
        loss = self.loss(hr, real=True) + self.loss(sr, real=False)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss


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
