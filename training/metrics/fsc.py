"""Fourier shell correlation of a map with its model inside a soft mask: quick, and without cctbx.

The mask is 1 up to 3 Å from the model, and falls to 0 as a cosine over the next 6 Å. It depends on the model alone, so that
all maps are compared under the same mask; mtriage's mask is wider or narrower depending on the map's sharpness. As in mtriage,
the model's own density is not masked.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import rfftn

MASK_RADIUS = 3.0  # Å
MASK_EDGE = 6.0  # Å
SHELL = 0.01  # 1/Å


def soft_mask(distance: np.ndarray, radius: float = MASK_RADIUS, edge: float = MASK_EDGE) -> np.ndarray:
    """Return a mask from distances to the model (Å, any shape): 1 within `radius`, 0 beyond `radius + edge`."""
    t = np.clip((distance - radius) / edge, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * t)).astype(np.float32)


def shell_correlation(a: np.ndarray, b: np.ndarray, s: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the FSC of two sets of rfftn coefficients, (frequencies, correlations), in shells of 0.01 1/Å up to Nyquist.

    rfftn keeps only one coefficient of most conjugate pairs, but both of some. These count double, in all three sums alike.
    """
    count = int(0.5 / step / SHELL)
    shell = np.minimum((s / SHELL).astype(int), count).ravel()
    a, b = a.ravel(), b.ravel()
    cross = np.bincount(shell, (a * b.conj()).real, count + 1)[:count]
    power_a = np.bincount(shell, np.abs(a) ** 2, count + 1)[:count]
    power_b = np.bincount(shell, np.abs(b) ** 2, count + 1)[:count]
    norm = np.sqrt(power_a * power_b)
    curve = np.divide(cross, norm, out=np.zeros(count), where=norm > 0)
    return (np.arange(count) + 0.5) * SHELL, curve


def resolution_at(frequencies: np.ndarray, curve: np.ndarray, threshold: float) -> float:
    """Return the resolution in Å at which a shell correlation first falls below `threshold`.

    The curve is smoothed over three shells. Frequencies below 1/20 Å, which have few coefficients, are ignored. For a curve that
    never falls below, it is the resolution of the last shell.
    """
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    start = int(np.searchsorted(frequencies, 1 / 20))
    below = np.nonzero(smooth[start:] < threshold)[0]
    if below.size == 0:
        return float(1 / frequencies[-1])
    last = start + int(below[0])
    if last == start:
        return float(1 / frequencies[start])
    high, low = smooth[last - 1], smooth[last]
    frequency = frequencies[last - 1] + (high - threshold) / (high - low) * SHELL
    return float(1 / frequency)


def masked_coefficients(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the Fourier coefficients (rfftn layout) of a map inside a mask."""
    return rfftn(array * mask)
