"""Running a network on a device: batches of tiles, in several orientations, within the available memory."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .density import MapError
from .devices import TORCH, Device, DeviceError, import_torch

if TYPE_CHECKING:
    import torch

VOXELS_AT_ONCE = {"cuda": 2**22, "mps": 2**20}  # voxels in a batch; on the CPU one tile, so that it soon reacts to Cancel
# Memory on a CPU, measured for both architectures with tiles of 40 to 128 voxels, in arrays of the size of the largest
# that a layer reads or writes: its input and output, copies of both in the memory layout of convolutions, and skip
# connections around it. The libraries hold further BUFFERS, in bytes: with tiles of 25 to 64 voxels 150 MB, and in one run
# of ten 210 MB. The estimate includes them because too little memory ends a run, whereas too high a figure does no harm.
LARGEST_IN_MEMORY = 6.5
BUFFERS = 220 * 2**20
# Before a GPU is used, it and the CPU predict a tile of noise with this edge (voxels); the results may differ by this
# many standard deviations. Lower precision gives 0.01; a convolution that silently reads its input in the wrong order,
# as that of PyTorch 2.5 on Apple GPUs (its issue 141471), gives 1.
PROBE = 24
PROBE_DIFFERENCE = 0.05
# Messages of PyTorch and its libraries, in lower case, for errors that have no exception type of their own. That no
# engine is found for a convolution may mean either kind of error: cuDNN tries its engines in turn and does not report
# why each failed.
NO_ENGINE = "unable to find an engine to execute this computation"
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "_status_alloc_failed", "invalid buffer size",
                 NO_ENGINE)
LACKING = ("supported on mps",  # "Conv3D is not supported on MPS", "... only supported on MPS for MacOS_13_2 or newer"
           "not implemented for",  # a number type
           "no kernel image is available",  # the GPU is older or newer than those that PyTorch was built for
           "cudnn_status_not_supported", "cudnn_status_arch_mismatch", NO_ENGINE)

# The proper rotations of the cube: permutations of the axes, and axes to reverse; swaps and reversals add up to an even
# number (an odd number would mirror the molecule). The first 4 are the identity and the half turns about the axes, and
# the first 8 lie at least 120 degrees apart, so that each leading subset is spread as widely as possible.
_EVEN = [((0, 1, 2), f) for f in ((), (0, 1), (0, 2), (1, 2))]
_CYCLIC = [(p, f) for p in ((1, 2, 0), (2, 0, 1)) for f in ((), (0, 1), (0, 2), (1, 2))]
_SWAPPED = [(p, f) for p in ((0, 2, 1), (2, 1, 0), (1, 0, 2)) for f in ((0,), (1,), (2,), (0, 1, 2))]
ROTATIONS = _EVEN + _CYCLIC + _SWAPPED
ROTATION_COUNTS = (1, 4, 8, 24)


def default_batch(device: Device, size: tuple[int, int, int]) -> int:
    """Return how many tiles of `size` voxels (zyx) to predict at once on a device."""
    return max(1, VOXELS_AT_ONCE.get(device.name.partition(":")[0], 0) // int(np.prod(size)))


class Runner:
    """A network on a device; predicts batches of tiles, and smaller ones if memory runs out.

    Parameters
    ----------
    network
        Moved to the device, where it stays.
    device
        A GPU is accepted only if its prediction for a tile of noise agrees with the CPU's.
    batch_size
        Tiles to predict at once; halved when memory runs out.
    rotations
        Number of orientations to average over.

    Raises
    ------
    DeviceError
        If the network cannot be moved to the device, does not run there, or gives different numbers from the CPU.
    """

    def __init__(self, network: torch.nn.Module, device: Device, batch_size: int, rotations: int) -> None:
        self.torch = import_torch()
        self.device = device
        self.batch_size = max(1, batch_size)
        self.rotations = 1  # one orientation suffices to check the device
        self.notes: list[str] = []
        self._largest = 0  # bytes of the largest array that a layer read or wrote
        self._cuda = device.name.startswith("cuda")
        trusted = copy.deepcopy(network).to("cpu") if device.name != "cpu" else None
        try:
            self.network = network.to(device.name)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0].rstrip(".")  # PyTorch adds advice for programmers
            raise DeviceError(f"The model could not be moved to {device.label} ({reason})", "use device cpu") from error
        if trusted is not None:
            self._agree_with(trusted)
        self.rotations = rotations
        if self._cuda:
            self.torch.cuda.reset_peak_memory_stats(device.name)

    def _agree_with(self, trusted: torch.nn.Module) -> None:
        """Raise an error if the network gives other numbers on the device than its copy `trusted` on the CPU.

        Raises
        ------
        DeviceError
            If it does, or the device cannot run the network at all.
        """
        tile = np.random.default_rng(0).standard_normal((1, PROBE, PROBE, PROBE), dtype=np.float32)
        found, right = (runner(tile, lambda _: None) for runner in (self, Runner(trusted, Device("cpu", "CPU"), 1, 1)))
        # An offset counts as a difference, and NaN fails.
        if found is None or right is None or not np.sqrt(np.mean((found - right) ** 2)) <= PROBE_DIFFERENCE * np.std(right):
            raise DeviceError(f"With PyTorch {self.torch.__version__} {self.device.label} gives different numbers from the CPU",
                              "use device cpu, or another version of PyTorch")

    def __call__(self, batch: np.ndarray, tick: Callable[[float], None]) -> np.ndarray | None:
        """Predict a batch (B, D, H, W); return None, with `batch_size` halved and a note added, if memory ran out.

        Before every layer, ``tick(part)`` is called with the fraction of the batch that is done, from 0 to 1, so that a
        slow machine still reports progress and can be cancelled.

        Raises
        ------
        DeviceError
            If the device lacks an operation that the network needs, or memory for a single tile.
        MapError
            If main memory does not suffice for a single tile.
        """
        layers = [module for module in self.network.modules() if not any(module.children())]
        steps, begun = len(layers) * self.rotations, itertools.count()
        hooks = [m.register_forward_pre_hook(lambda *_: tick(min(next(begun) / steps, 1))) for m in layers]
        hooks += [m.register_forward_hook(self._note_size) for m in layers]
        try:
            return self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            out_of_memory = isinstance(error, MemoryError) or _says(error, OUT_OF_MEMORY)
            lacking = isinstance(error, NotImplementedError) or _says(error, LACKING)
            if lacking and not (out_of_memory and len(batch) > 1):
                advice = f'get another PyTorch, with: pip install "{TORCH}"' if self.device.name == "cpu" else "use device cpu"
                raise DeviceError(f"PyTorch cannot run this model on {self.device.label}", advice) from error
            if not out_of_memory:
                raise
        finally:
            for hook in hooks:
                hook.remove()
        # Outside of the except block: the exception holds on to the tensors that filled the memory.
        self.release()
        if len(batch) == 1:
            size = " x ".join(str(n) for n in batch.shape[:0:-1])
            lack = f"too little free memory for one tile of {size} voxels"
            if self.device.name == "cpu":
                raise MapError(f"There is {lack}; close other programs.")
            raise DeviceError(f"{self.device.label}, has {lack}", "close other programs that use it, or use device cpu")
        self.batch_size = len(batch) // 2
        self.notes.append(f"Memory ran out with {len(batch)} tiles at once; continued with {self.batch_size}.")
        return None

    def memory(self, larger: float = 1.0) -> int:
        """Return the peak memory (bytes) of network and tiles: measured on an NVIDIA GPU, otherwise estimated from the layers.

        The estimate can be scaled to tiles with `larger` times as many voxels as those that were run.
        """
        if self._cuda:
            return self.torch.cuda.max_memory_reserved(self.device.name)
        return BUFFERS + int(LARGEST_IN_MEMORY * self._largest * larger) + sum(p.nbytes for p in self.network.parameters())

    def release(self) -> None:
        """Release the memory that PyTorch caches on a GPU, for other programs and for ChimeraX's own graphics."""
        if self._cuda:
            self.torch.cuda.empty_cache()
        elif self.device.name == "mps":
            self.torch.mps.empty_cache()

    def _note_size(self, _layer: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._largest = max(self._largest, *(x.nbytes for x in (*inputs, output) if isinstance(x, self.torch.Tensor)))

    def _forward(self, batch: np.ndarray) -> np.ndarray:
        torch = self.torch
        # A bfloat16 has 8 bits of precision: predictions change by about half a percent of their standard deviation,
        # and the input, to which a network adds its output, stays exact. Autocast is entered only where needed: older
        # PyTorch lacks it for Apple GPUs.
        short = torch.autocast("cpu", torch.bfloat16) if self.device.bfloat16 else nullcontext()
        with torch.inference_mode(), short:
            x = torch.from_numpy(batch)[:, None].to(self.device.name)
            total = torch.zeros_like(x)
            for order, flips in ROTATIONS[: self.rotations]:
                turned = x.permute(0, 1, *(a + 2 for a in order)).flip([a + 2 for a in flips]).contiguous()
                y = self.network(turned).flip([a + 2 for a in flips])
                total += y.permute(0, 1, *(order.index(a) + 2 for a in range(3)))
            return (total[:, 0] / self.rotations).cpu().numpy()


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    """Return whether an error's message contains any of `words`, which are in lower case."""
    text = str(error).lower()
    return any(word in text for word in words)
