"""The efficient generator: a residual U-Net that works at half resolution and adds its output to its input.

Space-to-depth turns 2 × 2 × 2 voxels into 8 channels, so that convolutions run on an eighth of the voxels, and the skip
connection around the whole network keeps full resolution. Nothing is normalised over the tile: a voxel's value does not
depend on the rest of its tile, so tiles agree where they overlap and may have any size.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

#: Added to the variance over the channels, so that an empty voxel, whose variance is smaller, is not amplified.
NORM_FLOOR = 1e-2


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each voxel separately: it stabilises training and is independent of the tile."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (B, C, D, H, W) to the same shape."""
        last = x.permute(0, 2, 3, 4, 1)
        # Autocast would use 32-bit numbers instead of 16-bit ones here, which takes twice the time. Older PyTorch has
        # no autocast for Apple GPUs, where it is never on.
        plain = nullcontext() if x.dtype == torch.float32 else torch.autocast(x.device.type, enabled=False)
        with plain:
            return F.layer_norm(last, last.shape[-1:], eps=NORM_FLOOR).permute(0, 4, 1, 2, 3)


class ResidualBlock(nn.Module):
    """Two 3 × 3 × 3 convolutions, with PReLU, of the normalised input, added to the input; starts as the identity."""

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.norm = ChannelNorm() if norm else nn.Identity()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.activation = nn.PReLU(channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (B, C, D, H, W) to the same shape."""
        return self.second(self.activation(self.first(self.norm(x)))).add_(x)  # in place, to save a tenth of the time on a CPU


class Grow(nn.Module):
    """Transposed convolution with kernel and stride 2, computed as a 1 × 1 × 1 convolution and a rearrangement.

    The sum is the same, and it also runs on Apple GPUs, for which PyTorch before 2.8 has no transposed convolution.
    """

    def __init__(self, channels: int, to: int) -> None:
        super().__init__()
        self.weight = nn.ConvTranspose3d(channels, to, 2, stride=2).weight  # (channels, to, 2, 2, 2)
        self.bias = nn.Parameter(torch.zeros(to))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (B, channels, d, h, w) to (B, to, 2d, 2h, 2w)."""
        weight = self.weight.flatten(2).permute(1, 2, 0).reshape(-1, x.shape[1], 1, 1, 1)
        return _depth_to_space(F.conv3d(x, weight, self.bias.repeat_interleave(8)))


class UNet(nn.Module):
    """Residual U-Net on space-to-depth voxels.

    Parameters
    ----------
    widths
        Channels at each level, finest (2 Å voxels for a 1 Å map) first.
    depths
        Residual blocks at each level on the way down, and again (except at the last level) on the way up.
    norm
        Whether to normalise the input of residual blocks over its channels; without it, wide networks diverge.
    """

    def __init__(
        self, widths: tuple[int, ...] = (64, 88, 96), depths: tuple[int, ...] = (5, 2, 1), norm: bool = True
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.enter = nn.Conv3d(8, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_blocks(w, d, norm) for w, d in zip(widths, depths, strict=True))
        self.up = nn.ModuleList(_blocks(w, d, norm) for w, d in zip(widths[:-1], depths[:-1], strict=True))
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.shrink = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairs)
        self.grow = nn.ModuleList(Grow(b, a) for a, b in pairs)
        self.leave = nn.Conv3d(widths[0], 8, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return enhanced density for normalised density (B, 1, D, H, W), same shape; any D, H, W."""
        shape = x.shape[-3:]
        padding = [p for n in reversed(shape) for p in (0, -n % self.multiple)]
        padded = F.pad(x, padding)
        y = self.enter(_space_to_depth(padded))
        skips = []
        for blocks, shrink in zip(self.down[:-1], self.shrink, strict=True):
            y = blocks(y)
            skips.append(y)
            y = shrink(y)
        y = self.down[-1](y)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            y = blocks(grow(y) + skips.pop())
        y = padded + _depth_to_space(self.leave(y))
        return y[..., : shape[0], : shape[1], : shape[2]]


def _blocks(channels: int, depth: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, norm) for _ in range(depth)))


def _space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """Rearrange (B, 1, 2d, 2h, 2w) to (B, 8, d, h, w)."""
    b, _, d, h, w = x.shape
    x = x.reshape(b, d // 2, 2, h // 2, 2, w // 2, 2)
    return x.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, 8, d // 2, h // 2, w // 2)


def _depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """Rearrange (B, 8c, d, h, w) to (B, c, 2d, 2h, 2w)."""
    b, channels, d, h, w = x.shape
    x = x.reshape(b, channels // 8, 2, 2, 2, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, channels // 8, 2 * d, 2 * h, 2 * w)
