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


def _frequency(shape: tuple[int, ...], step: float) -> np.ndarray:
    """|s| in 1/Å of each coefficient of an rfftn, float32."""
    fz, fy, fx = (np.fft.fftfreq(n, step).astype(np.float32) for n in shape)
    fx = np.abs(fx[: shape[2] // 2 + 1])
    return np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + fx**2)


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
    shell = (_frequency(lr.shape, step) / SHELL).astype(np.int32).ravel()
    f, g = rfftn(lr.astype(np.float32)).ravel(), rfftn(sr.astype(np.float32)).ravel()
    count = int(0.5 / step / SHELL)

    def total(x: np.ndarray) -> np.ndarray:
        return np.bincount(shell, x, count)[:count]

    norm = np.sqrt(total(np.abs(f) ** 2) * total(np.abs(g) ** 2))
    curve = np.divide(total((f * g.conj()).real), norm, out=np.ones(count), where=norm > 0)
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
    padded = np.pad(array, margin)
    gain = np.exp(-2 * (np.pi * sigma * _frequency(padded.shape, step)) ** 2)
    inner = tuple(slice(margin, margin + n) for n in array.shape)
    return irfftn(rfftn(padded) * gain, padded.shape)[inner].astype(np.float32)
