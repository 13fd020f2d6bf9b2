"""Limits on the sharpness and the low-frequency amplitudes of a super-resolved map, set by what its input supports.

A network adds detail wherever it can, even where the input carries no information. The Fourier shells in which input
and prediction agree show how far the input's information reaches; a model card says how strongly to blur a prediction
from such a map. At low frequencies, in contrast, a map's own amplitudes are better than a network's guesses; a card
says how far the prediction's amplitudes follow them. Both measures use the molecule alone: the network removes the
noise around it, so that noise must not lower the agreement, nor be followed.

All arrays are on the network's 1 Å grid, so one voxel is 1 Å.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import gaussian_filter, gaussian_filter1d

#: Least Fourier shell correlation at which input and prediction agree in a shell.
AGREEMENT = 0.8
#: Width of a shell, 1/Å.
SHELL = 0.0125
#: Coarsest resolution considered, Å: in coarser shells, any molecule agrees. It is assumed where there is no molecule.
COARSEST = 20.0
#: Sigma (Å) of the Gaussian window in which a prediction's strength, its root mean square, is measured.
WINDOW = 2.5
#: Strength, network units, at which the molecule's mask begins; the mask is 1 from twice this strength.
FAINT = 0.05
#: Strength, network units, that a prediction with a molecule reaches somewhere: deposited maps do, boxes of noise alone
#: do not (the maps of `training.evaluate --controls`).
STANDS_OUT = 0.24
#: Shells (centred at 23 and 6.4 Å) between which amplitudes follow the input's; beyond either, the gain stays constant.
FOLLOWED = (3, 12)
#: Standard deviation, in shells, of the Gaussian that smooths the logarithm of the gain.
SMOOTH = 4
#: Reach, Å, of a filter that smooth: four standard deviations of its Gaussian's transform.
REACH = 4 / (2 * np.pi * SMOOTH * SHELL)


def _frequencies(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the frequencies (1/Å, float32) of an rfftn along z, y and x, shaped to broadcast."""
    fz, fy, fx = (np.fft.fftfreq(n).astype(np.float32) for n in shape)
    return [fz[:, None, None], fy[:, None], np.abs(fx[: shape[2] // 2 + 1])]


def _centres(count: int) -> np.ndarray:
    """Return the centre frequencies (1/Å) of the first shells, (count,)."""
    return (np.arange(count) + 0.5) * SHELL


@dataclass(frozen=True)
class Shells:
    """Comparison of a map and its prediction in Fourier shells of width `SHELL`.

    Attributes
    ----------
    correlation
        Fourier shell correlation, (n,); 1 in a shell in which either map is empty.
    ratio
        Amplitude of the map over that of the prediction, (n,); 1 in such a shell.
    """

    correlation: np.ndarray
    ratio: np.ndarray

    @classmethod
    def of(cls, lr: np.ndarray, sr: np.ndarray, mask: np.ndarray | float = 1.0) -> Shells:
        """Compare input and prediction, (nz, ny, nx), any units, both multiplied by a mask."""
        f, g = (rfftn(np.multiply(x, mask, dtype=np.float32)) for x in (lr, sr))
        fz, fy, fx = _frequencies(lr.shape)
        count = int(0.5 / SHELL)
        cross, power_f, power_g = sums = np.zeros((3, count))
        for z, a, b in zip(fz.ravel(), f, g, strict=True):  # by planes, so that only the transforms are held in memory
            shell = (np.sqrt(z**2 + fy**2 + fx**2) / SHELL).astype(np.int32).ravel()
            for total, values in zip(sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2), strict=True):
                total += np.bincount(shell, values.ravel(), count)[:count]
        there = (power_f > 0) & (power_g > 0)
        correlation = np.divide(cross, np.sqrt(power_f * power_g), out=np.ones(count), where=there)
        return cls(correlation, np.sqrt(np.divide(power_f, power_g, out=np.ones(count), where=there)))

    def agreement(self) -> float:
        """Return the resolution (Å) down to which input and prediction agree.

        That is where their Fourier shell correlation, interpolated between the centres of shells, falls below
        `AGREEMENT`, to stay there for two shells at least; 2 Å, the finest resolution of the grid, if it never does.
        """
        low = self.correlation < AGREEMENT
        first = max(1, round(1 / COARSEST / SHELL))
        for i in range(first, len(low) - 1):
            if low[i] and low[i + 1]:
                before, after = self.correlation[i - 1 : i + 1]
                part = 0.0 if before <= AGREEMENT else (before - AGREEMENT) / (before - after)
                return float(min(1 / (_centres(i)[-1] + part * SHELL), COARSEST))
        return 2.0

    def gain(self, follow: float, sigma: float = 0.0) -> np.ndarray:
        """Return the factor for the prediction's amplitudes in every shell, (n,), with 1 in the lowest; for a blur of `sigma` Å.

        With `follow` 0 the amplitudes stay as they are; with 1 they change from shell to shell between `FOLLOWED` as
        the input's do, apart from the smoothing.
        """
        first, last = FOLLOWED
        ratio = self.ratio * np.exp(2 * (np.pi * sigma * _centres(len(self.ratio))) ** 2)
        rising = np.log(ratio[np.clip(np.arange(len(ratio)), first, last)])
        rising = gaussian_filter1d(rising, SMOOTH, mode="nearest")
        return np.exp(follow * (rising - rising[0]))


def molecule(sr: np.ndarray) -> np.ndarray | None:
    """Return a mask (0 to 1, float32) of the molecule in a prediction (nz, ny, nx) in network units; None if there is none."""
    strength = gaussian_filter(np.square(sr, dtype=np.float32), WINDOW)
    np.sqrt(np.maximum(strength, 0, out=strength), out=strength)
    if strength.max() < STANDS_OUT:
        return None
    strength /= FAINT
    strength -= 1
    return np.clip(strength, 0, 1, out=strength)


def blur_for(resolution: float, table: Sequence[Sequence[float]]) -> float:
    """Return the sigma (Å) interpolated in a card's (resolution, sigma) pairs, by rising resolution; 0 if there are none."""
    if not table:
        return 0.0
    nodes = np.array(table, float)
    return float(np.interp(resolution, nodes[:, 0], nodes[:, 1]))


def blur(array: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an array (nz, ny, nx) by a Gaussian of `sigma` Å, in float32; density outside of the box counts as zero."""
    return _filtered(array, sigma, None)


def _filtered(array: np.ndarray, sigma: float, gain: np.ndarray | None) -> np.ndarray:
    """Blur like `blur`, and multiply the amplitudes of every shell by its gain; with nothing to do, return `array` itself."""
    if sigma <= 0 and gain is None:
        return array
    margin = int(np.ceil(max(4 * sigma, 0 if gain is None else REACH)))
    shape = tuple(next_fast_len(n + 2 * margin, real=True) for n in array.shape)
    spectrum = rfftn(np.pad(array, [(margin, size - n - margin) for n, size in zip(array.shape, shape, strict=True)]))
    frequencies = _frequencies(shape)
    for frequency in frequencies:  # a 3D Gaussian is the product of one along each axis
        spectrum *= np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    if gain is not None:
        fz, fy, fx = frequencies
        for z, plane in zip(fz.ravel(), spectrum, strict=True):
            plane *= np.interp(np.sqrt(z**2 + fy**2 + fx**2), _centres(len(gain)), gain).astype(np.float32)
    inner = tuple(slice(margin, margin + n) for n in array.shape)
    return irfftn(spectrum, shape)[inner].astype(np.float32)


class Limited(NamedTuple):
    """A filtered prediction.

    Attributes
    ----------
    array
        (nz, ny, nx), network units.
    resolution
        Resolution in Å that decided the blur; None for an empty table.
    agreed
        Resolution in Å down to which input and prediction of the molecule agree; None if it was not needed, or there is
        no molecule.
    """

    array: np.ndarray
    resolution: float | None
    agreed: float | None


def limit(
    lr: np.ndarray, sr: np.ndarray, table: Sequence[Sequence[float]], follow: float = 0.0, resolution: float | None = None,
    finest: float = 0.0, tell: Callable[[], None] = lambda: None,
) -> Limited:
    """Blur a prediction by a card's table, and let its molecule's low frequencies follow the input's as far as the card says.

    Around the molecule, where nothing can be sharp, it is blurred as for the coarsest map.

    Parameters
    ----------
    lr, sr
        Input and prediction in network units, (nz, ny, nx).
    table
        (resolution, sigma) pairs, Å, as for `blur_for`; an empty table blurs nothing.
    follow
        As for `Shells.gain`.
    resolution
        Resolution of the input, Å. By default `Shells.agreement` of the molecule, or `COARSEST` if there is none.
    finest
        Resolution of the input's voxels, Å (twice their size): finer agreement is not counted.
    tell
        Called between the steps, each of which takes seconds for a large map; an exception that it raises ends the
        work.
    """
    if not table and not follow:
        return Limited(sr, None, None)
    mask = molecule(sr)
    tell()
    shells = Shells.of(lr, sr, mask) if mask is not None and (follow or not resolution) else None
    agreed = max(shells.agreement(), finest) if shells else None
    found = (resolution or agreed or COARSEST) if table else None
    sigma = blur_for(found, table) if found else 0.0
    tell()
    inside = _filtered(sr, sigma, shells.gain(follow, sigma) if shells and follow else None)
    if mask is None:
        return Limited(inside, found, agreed)
    tell()
    around = blur(sr, blur_for(COARSEST, table))
    mask *= inside - around
    mask += around
    return Limited(mask, found, agreed)
