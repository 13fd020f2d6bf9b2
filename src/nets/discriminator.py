"""The paper's discriminator, used in training only (SuperEM, Methods, "Network architecture")."""

from __future__ import annotations

import torch
from torch import nn


class Discriminator(nn.Module):
    """Ten 3D convolutions, fully convolutional; 32 channels at first, doubled after every two.

    Each is followed by group normalisation (16 groups), PReLU and dropout. The second of every pair halves the grid. A
    convolution with kernel 1, averaged over the remaining grid, gives two logits: generated and real. The paper's
    softmax over them is left to the loss, where it is numerically stable.

    Parameters
    ----------
    channels, dropout
        32 and 0.25 in the paper.
    """

    def __init__(self, channels: int = 32, dropout: float = 0.25) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for number in range(10):
            width = channels * 2 ** (number // 2)
            layers += [
                nn.Conv3d(before, width, 3, stride=1 + number % 2, padding=1),
                nn.GroupNorm(16, width),
                nn.PReLU(width),
                nn.Dropout3d(dropout),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.judge = nn.Conv3d(before, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 2), generated and real, for density (B, 1, D, H, W)."""
        return self.judge(self.layers(x)).mean(dim=(2, 3, 4))
