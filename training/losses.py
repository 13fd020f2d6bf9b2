"""What a generator is trained to do: match HR voxel by voxel, and shell by shell in Fourier space."""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: Shells (1/Å) over which the FSC is averaged: from 14 Å to 2.4 Å on a 1 Å grid.
FSC_RANGE = (0.07, 0.42)


def content(sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """Mean squared error at the target's resolution and, twice as heavy, blurred by 0.7 Å.

    The blurred target is the paper's 3.0 Å HR: it carries what a 4 Å map can teach, where at 1.8 Å most of the
    error is detail that no network could know. All tensors are (B, 1, n, n, n).
    """
    error = (sr - hr) * trusted
    return error.square().mean() + 2 * _blur(error, 0.7).square().mean()


def shell_disagreement(sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """1 - FSC, averaged over shells and tiles, inside a window that tapers to 0 at the tile's faces.

    The FSC gives every shell the same say, so detail near the resolution limit is not outvoted by the
    strong low frequencies, and it cannot be raised by filtering: only by phases and by suppressing noise.
    """
    n = sr.shape[-1]
    ramp = torch.sin(torch.pi * (torch.arange(n) + 0.5) / n).clamp(max=0.7) / 0.7
    window = (ramp[:, None, None] * ramp[None, :, None] * ramp[None, None, :]).to(sr) * trusted
    a, b = torch.fft.rfftn(sr * window, dim=(-3, -2, -1)), torch.fft.rfftn(hr * window, dim=(-3, -2, -1))
    full, half = torch.fft.fftfreq(n), torch.fft.rfftfreq(n)
    radius = torch.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)
    shell = torch.round(radius * n).long().flatten()
    first, last = round(FSC_RANGE[0] * n), round(FSC_RANGE[1] * n)

    def sums(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        return flat.new_zeros(flat.shape[0], int(shell.max()) + 1).index_add(1, shell, flat)[:, first : last + 1]

    cross = sums((a * b.conj()).real)
    scale = sums(a.abs().square()) * sums(b.abs().square())
    # a tile without density in HR has no FSC to speak of
    weight = (sums(b.abs().square()) > 1e-3 * n**3 * 1e-3).to(sr)
    fsc = cross / torch.sqrt(scale + 1e-6 * n**6 * 1e-6)
    return ((1 - fsc) * weight).sum() / weight.sum().clamp(min=1)


def _blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    at = torch.arange(-3, 4, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 7
        padding = [0, 0, 0]
        padding[axis] = 3
        x = F.conv3d(x, kernel.reshape(shape), padding=padding)
    return x
