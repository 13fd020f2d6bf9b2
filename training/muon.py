"""Muon: orthogonalised momentum for the kernels of hidden convolutions, Adam for all other parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

#: Decay of the momentum.
MOMENTUM = 0.95
#: Coefficients and number of the quintic iterations that bring singular values near 1 (Jordan 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
#: Root mean square of a step divided by the learning rate: about Adam's, so that one learning rate serves both (Liu et al.
#: 2025, arXiv:2502.16982).
STEP_RMS = 0.2
#: Kernels with fewer input or output channels than this, as in the first and last layers, are left to Adam.
MIN_CHANNELS = 16


def hidden(parameter: torch.nn.Parameter) -> bool:
    """Return whether a parameter is a kernel (out, in, d, h, w) between hidden channels, wider than one voxel."""
    return parameter.ndim == 5 and min(parameter.shape[:2]) >= MIN_CHANNELS and parameter[0, 0].numel() > 1


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return roughly the orthogonal matrix nearest to a matrix (m, n): its singular values become 0.7 to 1.2."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-9)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for hidden kernels, as matrices (out, in · d · h · w); Adam for all other parameters.

    After K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024), with Nesterov's momentum.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], rate: float) -> None:
        parameters = list(parameters)
        kernels = [p for p in parameters if hidden(p)]
        others = [p for p in parameters if not hidden(p)]
        super().__init__([{"params": kernels}, {"params": others}], {"lr": rate})
        self._adam = torch.optim.Adam(others, rate)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step from the current gradients; `closure` is ignored."""
        kernels, others = self.param_groups
        for parameter in kernels["params"]:
            momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            momentum.lerp_(parameter.grad, 1 - MOMENTUM)
            ahead = parameter.grad.lerp(momentum, MOMENTUM).flatten(1)
            length = STEP_RMS * max(ahead.shape) ** 0.5  # an orthogonal matrix has an RMS of 1 / sqrt(larger side)
            parameter.sub_(orthogonal(ahead).view_as(parameter), alpha=kernels["lr"] * length)
        for group in self._adam.param_groups:
            group["lr"] = others["lr"]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to resume a run."""
        return {"muon": super().state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])
