"""How sharp a super-resolved map may be: as sharp as what its input could tell, and no more.

A network adds detail wherever it sees a chance, also where the input carried no information. The shells in which
input and prediction agree say how far the input's information reached; a model card says how strongly a
prediction from such a map is to be blurred. A Gaussian changes no phase, so nothing moves and no FSC changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfftn, rfftn

#: Input and prediction agree in a shell if their Fourier shell correlation there is at least this.
AGREEMENT = 0.8
#: Shells have this width, 1/Å.
SHELL = 0.0125
#: Coarsest resolution that is looked at, Å: below it every shell of a molecule agrees.
COARSEST = 20.0


def _frequencies(shape: tuple[int, ...], step: float) -> list[np.ndarray]:
    """Frequencies in 1/Å of an rfftn along z, y and x, shaped to broadcast, float32."""
    fz, fy, fx = (np.fft.fftfreq(n, step).astype(np.float32) for n in shape)
    return [fz[:, None, None], fy[:, None], np.abs(fx[: shape[2] // 2 + 1])]


def agreement_resolution(lr: np.ndarray, sr: np.ndarray, step: float = 1.0) -> float:
    """Resolution (Å) down to which a map and its prediction agree.

    Parameters
    ----------
    lr, sr
        Input and prediction on the same grid, (nz, ny, nx), any units.
    step
        Voxel size, Å.

    Returns
    -------
    float
        Where their Fourier shell correlation first falls below `AGREEMENT` for two shells in a row; twice the
        voxel size, if it never does.
    """
    f, g = rfftn(lr.astype(np.float32, copy=False)), rfftn(sr.astype(np.float32, copy=False))
    fz, fy, fx = _frequencies(lr.shape, step)
    count = int(0.5 / step / SHELL)
    cross, power_f, power_g = sums = np.zeros((3, count))
    for z, a, b in zip(fz.ravel(), f, g, strict=True):  # plane by plane, so that no more than the transforms is held
        shell = (np.sqrt(z**2 + fy**2 + fx**2) / SHELL).astype(np.int32).ravel()
        for total, values in zip(sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2), strict=True):
            total += np.bincount(shell, values.ravel(), count)[:count]
    norm = np.sqrt(power_f * power_g)
    curve = np.divide(cross, norm, out=np.ones(count), where=norm > 0)
    low = curve < AGREEMENT
    first = max(1, round(1 / COARSEST / SHELL))
    for i in range(first, count - 1):
        if low[i] and low[i + 1]:
            return 1 / (i * SHELL)
    return 2 * step


def blur_for(resolution: float, table: Sequence[Sequence[float]]) -> float:
    """Sigma (Å) that a card's table of (resolution, sigma) pairs, by rising resolution, gives; 0 for an empty one."""
    if not table:
        return 0.0
    nodes = np.array(table, float)
    return float(np.interp(resolution, nodes[:, 0], nodes[:, 1]))


def blur(array: np.ndarray, sigma: float, step: float = 1.0) -> np.ndarray:
    """Array (nz, ny, nx) blurred by a Gaussian of `sigma` Å, float32; what lies outside of the box counts as zero."""
    if sigma <= 0:
        return array
    margin = int(np.ceil(4 * sigma / step))
    shape = tuple(n + 2 * margin for n in array.shape)
    spectrum = rfftn(np.pad(array, margin))
    for frequency in _frequencies(shape, step):  # a Gaussian is one along each axis
        spectrum *= np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    inner = tuple(slice(margin, margin + n) for n in array.shape)
    return irfftn(spectrum, shape)[inner].astype(np.float32)


def limit(
    lr: np.ndarray, sr: np.ndarray, table: Sequence[Sequence[float]], resolution: float | None = None, step: float = 1.0
) -> tuple[np.ndarray, float | None]:
    """Blur a prediction as far as a card's table asks.

    Parameters
    ----------
    lr, sr
        Input and prediction in network units on the same grid, (nz, ny, nx).
    table
        (resolution, sigma) pairs, Å, as for `blur_for`; an empty one leaves the prediction as it is.
    resolution
        Of the input, Å; found by `agreement_resolution` if it is not given.
    step
        Voxel size, Å.

    Returns
    -------
    tuple
        The prediction, blurred, and the resolution that was given or found, None for an empty table.
    """
    if not table:
        return sr, None
    found = resolution or agreement_resolution(lr, sr, step)
    return blur(sr, blur_for(found, table), step), found
