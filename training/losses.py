"""Losses of the generator: squared error against HR, and disagreement by shell in Fourier space."""

from __future__ import annotations

from functools import lru_cache

import torch

#: Range of shells (1/Å) over which the FSC is averaged: 14 Å to 2.4 Å on a 1 Å grid.
FSC_RANGE = (0.07, 0.42)
#: Sigma (Å) of the Gaussian that blurs the 1.8 Å target to the paper's 3.0 Å HR.
BLUR = 0.7


def content(sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error against HR at 1.8 Å, plus twice that of SR and HR both blurred by `BLUR`.

    The target is equally sharp for every map, since a network cannot know which maps should have a blunter HR. Detail that it
    cannot predict averages out of its output, and predictions are blurred afterwards (`core.sharpness`). Tensors are
    (B, 1, n, n, n).
    """
    n = sr.shape[-1]
    squared = (2 * torch.pi * _radius(n, sr.device)) ** 2
    error = torch.fft.rfftn((sr - hr) * trusted, dim=(-3, -2, -1), norm="ortho")
    power = error.real.square() + error.imag.square()
    # Parseval: the blurred error is summed in Fourier space; each frequency that rfftn stores stands for one or two
    twice = torch.full((n // 2 + 1,), 2.0, device=sr.device)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    weight = (1 + 2 * torch.exp(-(BLUR**2) * squared)) * twice
    return (power * weight).sum() / sr.numel()


def shell_disagreement(
    sr: torch.Tensor, hr: torch.Tensor, trusted: torch.Tensor, resolution: torch.Tensor
) -> torch.Tensor:
    """Return 1 - FSC, averaged over shells and tiles, inside a window that tapers to 0 at the tile's faces.

    The FSC normalises every shell, so that strong low frequencies do not outweigh detail near the resolution limit. Filtering
    cannot raise it; only better phases and less noise can. Shells near the map's own resolution have the most weight, since most
    can be gained there. At much lower frequencies the FSC is high anyway. At much higher ones nothing can be known, and the
    gradient, which grows as a shell gets weaker, would only preserve its noise.
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
    # a tile without density in HR has no meaningful FSC
    weight = weight * (sums(b.abs().square()) > 1e-6 * n**3)
    fsc = cross / torch.sqrt(scale + 1e-12 * n**6)
    return ((1 - fsc) * weight).sum() / weight.sum().clamp(min=1)


@lru_cache
def _radius(n: int, device: torch.device) -> torch.Tensor:
    """Return the length of each frequency of an rfftn of (n, n, n), 1/voxel."""
    full, half = torch.fft.fftfreq(n, device=device), torch.fft.rfftfreq(n, device=device)
    return torch.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)


@lru_cache
def _shells(n: int, first: int, last: int, device: torch.device) -> torch.Tensor:
    """Return (frequencies, shells) with 1 where a frequency of an rfftn of (n, n, n) is in a shell; turns sums into products."""
    shell = torch.round(_radius(n, device) * n).flatten()
    return (shell[:, None] == torch.arange(first, last + 1, device=device)).float()
