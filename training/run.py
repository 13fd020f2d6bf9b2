"""A generator in training: its networks and optimisers, one step, and what is saved and restored."""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path

import torch
from superem.core.files import replaced
from superem.nets.store import load

from superem import nets

from .losses import content, shell_disagreement
from .muon import Muon

OPTIMISERS = {"adam": torch.optim.Adam, "muon": Muon}
#: Settings that may differ between the sessions of a run.
PER_SESSION = ("hours", "pool", "start_from", "threads", "device", "steps", "report")


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
