"""The paper's generator: 15 residual blocks at full resolution (SuperEM, Methods, "Network architecture")."""

from __future__ import annotations

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two convolutions with instance normalisation, with PReLU and dropout between them, and a skip connection.

    The last normalisation's gain starts at zero, so that a new block is the identity and a trained network can be
    deepened step by step.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        last = nn.InstanceNorm3d(channels, affine=True)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.InstanceNorm3d(channels, affine=True),
            nn.PReLU(channels),
            nn.Dropout3d(dropout),
            nn.Conv3d(channels, channels, 3, padding=1),
            last,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (B, C, D, H, W) to the same shape."""
        return x + self.layers(x)


class Generator(nn.Module):
    """The paper's generator; stride 1 throughout, so the output has the size of the input.

    It consists of a convolution with kernel 3 to 32 channels, `blocks` residual blocks, a last convolution with kernel
    3 and 32 channels, and tanh rescaled to 0...1. The paper does not say how 32 channels become one density per voxel;
    here the last convolution has 32 input channels and one output channel.

    Parameters
    ----------
    channels, blocks, dropout
        32, 15 and 0.25 in the paper.
    """

    def __init__(self, channels: int = 32, blocks: int = 15, dropout: float = 0.25) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv3d(1, channels, 3, padding=1), nn.PReLU(channels))
        self.blocks = nn.Sequential(*(ResidualBlock(channels, dropout) for _ in range(blocks)))
        self.leave = nn.Conv3d(channels, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return density in 0...1 for normalised density (B, 1, D, H, W), same shape; at least 2 voxels per axis."""
        return (torch.tanh(self.leave(self.blocks(self.enter(x)))) + 1) / 2
