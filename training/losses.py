"""What a generator is trained to do: match HR voxel by voxel, and shell by shell in Fourier space."""

from __future__ import annotations

from functools import lru_cache

import torch

#: Shells (1/Å) over which the FSC is averaged: from 14 Å to 2.4 Å on a 1 Å grid.
FSC_RANGE = (0.07, 0.42)
#: Sigma (Å) that takes the 1.8 Å target to the paper's 3.0 Å HR.
BLUR = 0.7


def content(sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """Mean squared error against HR at 1.8 Å and, twice as heavy, of both blurred by `BLUR`.

    The target is as sharp for every map: a network cannot know for which one a blunter HR is wanted. What it cannot know
    of the detail leaves its answer, and a prediction is blurred afterwards (`core.sharpness`). Tensors are (B, 1, n, n, n).
    """
    n = sr.shape[-1]
    squared = (2 * torch.pi * _radius(n, sr.device)) ** 2
    error = torch.fft.rfftn((sr - hr) * trusted, dim=(-3, -2, -1), norm="ortho")
    power = error.real.square() + error.imag.square()
    # Parseval: what a blur leaves of the error is summed in Fourier space, each stored frequency once or twice
    twice = torch.full((n // 2 + 1,), 2.0, device=sr.device)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    weight = (1 + 2 * torch.exp(-(BLUR**2) * squared)) * twice
    return (power * weight).sum() / sr.numel()


def shell_disagreement(
    sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor, resolution: torch.Tensor
) -> torch.Tensor:
    """1 - FSC, averaged over shells and tiles, inside a window that tapers to 0 at the tile's faces.

    The FSC gives every shell its own say, so detail near the resolution limit is not outvoted by the
    strong low frequencies, and it cannot be raised by filtering: only by phases and by suppressing noise.
    Shells count most around the map's own resolution, where there is something to win: far below it the
    FSC is high anyway, and far beyond it nothing can be known: there the gradient, which grows as a shell
    gets weaker, would only keep its noise alive.
    """
    n = sr.shape[-1]
    ramp = torch.sin(torch.pi * (torch.arange(n, device=sr.device) + 0.5) / n).clamp(max=0.7) / 0.7
    window = ramp[:, None, None] * ramp[None, :, None] * ramp[None, None, :] * trusted
    a, b = torch.fft.rfftn(sr * window, dim=(-3, -2, -1)), torch.fft.rfftn(hr * window, dim=(-3, -2, -1))
    first, last = round(FSC_RANGE[0] * n), round(FSC_RANGE[1] * n)
    members = _shells(n, first, last, sr.device)

    def sums(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ members

    cross = sums((a * b.conj()).real)
    scale = sums(a.abs().square()) * sums(b.abs().square())
    relative = torch.arange(first, last + 1, device=sr.device) / n * resolution[:, None]
    weight = 0.2 * (relative < 1) + torch.exp(-(((relative - 1) / 0.35) ** 2))
    # a tile without density in HR has no FSC to speak of
    weight = weight * (sums(b.abs().square()) > 1e-6 * n**3)
    fsc = cross / torch.sqrt(scale + 1e-12 * n**6)
    return ((1 - fsc) * weight).sum() / weight.sum().clamp(min=1)


@lru_cache
def _radius(n: int, device: torch.device) -> torch.Tensor:
    """Length of each frequency of an rfftn of (n, n, n), 1/voxel."""
    full, half = torch.fft.fftfreq(n, device=device), torch.fft.rfftfreq(n, device=device)
    return torch.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)


@lru_cache
def _shells(n: int, first: int, last: int, device: torch.device) -> torch.Tensor:
    """(frequencies, shells) with 1 where a frequency of an rfftn of (n, n, n) belongs to a shell: sums become products."""
    shell = torch.round(_radius(n, device) * n).flatten()
    return (shell[:, None] == torch.arange(first, last + 1, device=device)).float()
