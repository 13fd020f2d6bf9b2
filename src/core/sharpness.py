"""How sharp a super-resolved map may be, and how strong its low frequencies: as its input tells, and no more.

A network adds detail wherever it sees a chance, also where the input carried no information. The shells in which
input and prediction agree say how far the input's information reached; a model card says how strongly a
prediction from such a map is to be blurred. At low frequencies, on the other hand, a map knows its amplitudes better than a
network guesses them; a card says how far the prediction's follow them. Both look at the molecule alone: noise around it, which
the network takes away, is not to be agreed with, nor followed.

All arrays are on the 1 Å grid that a network works on: a voxel is an Å.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import gaussian_filter, gaussian_filter1d

#: Input and prediction agree in a shell if their Fourier shell correlation there is at least this.
AGREEMENT = 0.8
#: Shells have this width, 1/Å.
SHELL = 0.0125
#: Coarsest resolution that is looked at, Å: below it every shell of a molecule agrees. It is said where there is no molecule.
COARSEST = 20.0
#: Sigma (Å) of the Gaussian window in which a prediction's strength, its root mean square, is measured.
WINDOW = 2.5
#: Strength, network units, at which a molecule begins; at twice this one is inside.
FAINT = 0.05
#: Where a prediction is as strong as this nowhere, network units, there is no molecule: deposited maps reach it, boxes of noise
#: alone do not (the maps of `training.evaluate --controls`).
STANDS_OUT = 0.24
#: Shells (3 and 12: 29 and 6.4 Å) between which amplitudes follow the input's; on either side all change as at the last one.
FOLLOWED = (3, 12)
#: Standard deviation, shells, of the Gaussian that smooths how they change.
SMOOTH = 4
#: So far, Å, reaches a filter that is as smooth as that: four standard deviations of its Gaussian's transform.
REACH = 4 / (2 * np.pi * SMOOTH * SHELL)


def _frequencies(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Frequencies in 1/Å of an rfftn along z, y and x, shaped to broadcast, float32."""
    fz, fy, fx = (np.fft.fftfreq(n).astype(np.float32) for n in shape)
    return [fz[:, None, None], fy[:, None], np.abs(fx[: shape[2] // 2 + 1])]


def _centres(count: int) -> np.ndarray:
    """Frequencies in 1/Å of the middle of the first shells, (count,)."""
    return (np.arange(count) + 0.5) * SHELL


@dataclass(frozen=True)
class Shells:
    """A map and its prediction in Fourier shells of width `SHELL`.

    Attributes
    ----------
    correlation
        Fourier shell correlation of the two, (n,); 1 in a shell in which either is empty.
    ratio
        Amplitude of the map over that of the prediction, (n,); 1 in such a shell.
    """

    correlation: np.ndarray
    ratio: np.ndarray

    @classmethod
    def of(cls, lr: np.ndarray, sr: np.ndarray, mask: np.ndarray | float = 1.0) -> Shells:
        """Shells of input and prediction, (nz, ny, nx), any units, times a mask."""
        f, g = (rfftn(np.multiply(x, mask, dtype=np.float32)) for x in (lr, sr))
        fz, fy, fx = _frequencies(lr.shape)
        count = int(0.5 / SHELL)
        cross, power_f, power_g = sums = np.zeros((3, count))
        for z, a, b in zip(fz.ravel(), f, g, strict=True):  # plane by plane, so that no more than the transforms is held
            shell = (np.sqrt(z**2 + fy**2 + fx**2) / SHELL).astype(np.int32).ravel()
            for total, values in zip(sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2), strict=True):
                total += np.bincount(shell, values.ravel(), count)[:count]
        there = (power_f > 0) & (power_g > 0)
        correlation = np.divide(cross, np.sqrt(power_f * power_g), out=np.ones(count), where=there)
        return cls(correlation, np.sqrt(np.divide(power_f, power_g, out=np.ones(count), where=there)))

    def agreement(self) -> float:
        """Resolution (Å) down to which the two agree.

        That is where their Fourier shell correlation first falls below `AGREEMENT` for two shells in a row; 2 Å, the
        finest that the grid holds, if it never does.
        """
        low = self.correlation < AGREEMENT
        first = max(1, round(1 / COARSEST / SHELL))
        for i in range(first, len(low) - 1):
            if low[i] and low[i + 1]:
                return 1 / (i * SHELL)
        return 2.0

    def gain(self, follow: float, sigma: float = 0.0) -> np.ndarray:
        """Factor for the amplitudes of the prediction, blurred by `sigma` Å, in every shell, (n,), 1 in the lowest.

        `follow` is 0 where they are to stay, 1 where they are to become as the input's are between `FOLLOWED`, but for what
        smoothing leaves out.
        """
        first, last = FOLLOWED
        ratio = self.ratio * np.exp(2 * (np.pi * sigma * _centres(len(self.ratio))) ** 2)
        rising = np.log(ratio[np.clip(np.arange(len(ratio)), first, last)])
        rising = gaussian_filter1d(rising, SMOOTH, mode="nearest")
        return np.exp(follow * (rising - rising[0]))


def molecule(sr: np.ndarray) -> np.ndarray | None:
    """Where a molecule is in a prediction (nz, ny, nx) in network units: 0 to 1, float32; None if there is none."""
    strength = gaussian_filter(np.square(sr, dtype=np.float32), WINDOW)
    np.sqrt(np.maximum(strength, 0, out=strength), out=strength)
    if strength.max() < STANDS_OUT:
        return None
    strength /= FAINT
    strength -= 1
    return np.clip(strength, 0, 1, out=strength)


def blur_for(resolution: float, table: Sequence[Sequence[float]]) -> float:
    """Sigma (Å) that a card's table of (resolution, sigma) pairs, by rising resolution, gives; 0 for an empty one."""
    if not table:
        return 0.0
    nodes = np.array(table, float)
    return float(np.interp(resolution, nodes[:, 0], nodes[:, 1]))


def blur(array: np.ndarray, sigma: float) -> np.ndarray:
    """Array (nz, ny, nx) blurred by a Gaussian of `sigma` Å, float32; what lies outside of the box counts as zero."""
    return _filtered(array, sigma, None)


def _filtered(array: np.ndarray, sigma: float, gain: np.ndarray | None) -> np.ndarray:
    """As `blur`, and the amplitudes of every shell are multiplied by its gain; the array itself, if there is nothing to do."""
    if sigma <= 0 and gain is None:
        return array
    margin = int(np.ceil(max(4 * sigma, 0 if gain is None else REACH)))
    shape = tuple(next_fast_len(n + 2 * margin, real=True) for n in array.shape)
    spectrum = rfftn(np.pad(array, [(margin, size - n - margin) for n, size in zip(array.shape, shape, strict=True)]))
    frequencies = _frequencies(shape)
    for frequency in frequencies:  # a Gaussian is one along each axis
        spectrum *= np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    if gain is not None:
        fz, fy, fx = frequencies
        for z, plane in zip(fz.ravel(), spectrum, strict=True):
            plane *= np.interp(np.sqrt(z**2 + fy**2 + fx**2), _centres(len(gain)), gain).astype(np.float32)
    inner = tuple(slice(margin, margin + n) for n in array.shape)
    return irfftn(spectrum, shape)[inner].astype(np.float32)


class Limited(NamedTuple):
    """A prediction, filtered.

    Attributes
    ----------
    array
        (nz, ny, nx), network units.
    resolution
        Å, that decided how it was blurred; None for an empty table.
    agreed
        Å, down to which input and prediction of the molecule agree; None if nobody had to know, or there is no molecule.
    """

    array: np.ndarray
    resolution: float | None
    agreed: float | None


def limit(
    lr: np.ndarray, sr: np.ndarray, table: Sequence[Sequence[float]], follow: float = 0.0, resolution: float | None = None,
    finest: float = 0.0, tell: Callable[[], None] = lambda: None,
) -> Limited:
    """Blur a prediction by a card's table, and let its molecule's low frequencies follow the input's as the card asks.

    Around the molecule, where there is nothing to be sharp, it is blurred as for the coarsest map.

    Parameters
    ----------
    lr, sr
        Input and prediction in network units, (nz, ny, nx).
    table
        (resolution, sigma) pairs, Å, as for `blur_for`; an empty one blurs nothing.
    follow
        As for `Shells.gain`.
    resolution
        Of the input, Å; found by `Shells.agreement` of the molecule if it is not given, `COARSEST` if there is none.
    finest
        Resolution, Å, beyond which the input cannot tell anything, though it may seem to agree: twice its own voxel size.
    tell
        Called between the steps, each of which takes seconds for a large map; what it raises ends the work.
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
