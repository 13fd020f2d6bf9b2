"""Fourier shell correlation of a map with its model inside a soft mask: quick, and without cctbx.

The mask is 1 up to 3 Å from the model and falls to 0 as a cosine over the next 6 Å. It depends on the model
alone, so that two maps are compared under the same mask; mtriage widens or narrows its mask with the map's
sharpness. The model's own density is not masked, as in mtriage.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import rfftn

MASK_RADIUS = 3.0  # Å
MASK_EDGE = 6.0  # Å
SHELL = 0.01  # 1/Å


def soft_mask(distance: np.ndarray, radius: float = MASK_RADIUS, edge: float = MASK_EDGE) -> np.ndarray:
    """Mask from distances to the model (Å, any shape): 1 within `radius`, 0 beyond `radius + edge`."""
    t = np.clip((distance - radius) / edge, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * t)).astype(np.float32)


def shell_correlation(a: np.ndarray, b: np.ndarray, s: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """FSC of two sets of rfftn coefficients: (frequencies, correlations), shells of 0.01 1/Å up to Nyquist.

    Pairs of conjugates of which rfftn keeps one count half as much as those of which it keeps both, alike in all three sums.
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
    """Resolution in Å at which a shell correlation first falls below `threshold`.

    The curve is smoothed over three shells; what lies below 1/20 Å, where few coefficients are, is left out. A
    curve that never falls ends at its last shell.
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
    """Fourier coefficients (rfftn layout) of a map inside a mask."""
    return rfftn(array * mask)
