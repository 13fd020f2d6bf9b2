"""A network on a device: it predicts batches of tiles, in several orientations, and makes do with the memory there is."""

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

VOXELS_AT_ONCE = {"cuda": 2**22, "mps": 2**20}  # of a batch; on the CPU one tile, so that Cancel is heard soon
# Memory on a CPU, as networks of both architectures took it for tiles of 40 to 128 voxels: so many arrays of the size of the
# largest that a layer reads or writes (these two, copies of them in the order that convolutions work in, and the skips around
# them). Beside it, in bytes, what the libraries hold on to: with tiles of 25 to 64 voxels up to 150 MB, from run to run another
# amount. It is rather foretold than left out: too little memory ends a run, too high a figure does no harm.
LARGEST_IN_MEMORY = 6.5
BUFFERS = 180 * 2**20
# Before a GPU is trusted, it and the CPU predict a tile of noise of this edge, voxels; so many standard deviations may they
# differ. Numbers of fewer bits make that 0.01; a convolution that reads its input in the wrong order, as PyTorch 2.5's on Apple
# GPUs (its issue 141471), makes it 1, and says nothing.
PROBE = 24
PROBE_DIFFERENCE = 0.05
# What PyTorch and its libraries say, in small letters, where they do not raise an error of a kind of its own. That there is no
# engine for a convolution may mean either: cuDNN tries one after the other and does not tell why each of them failed.
NO_ENGINE = "unable to find an engine to execute this computation"
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "_status_alloc_failed", "invalid buffer size",
                 NO_ENGINE)
LACKING = ("supported on mps",  # "Conv3D is not supported on MPS", "... only supported on MPS for MacOS_13_2 or newer"
           "not implemented for",  # a kind of number
           "no kernel image is available",  # the GPU is older or newer than those that PyTorch was built for
           "cudnn_status_not_supported", "cudnn_status_arch_mismatch", NO_ENGINE)

# The proper rotations of the cube: permutations of the axes and axes to reverse, an even number of swaps and reversals in all
# (an odd number would mirror the molecule). In this order the first 4 are half turns about the axes and the first 8 lie at
# 120 degrees or more from each other: each leading subset is as spread out as it can be.
_EVEN = [((0, 1, 2), f) for f in ((), (0, 1), (0, 2), (1, 2))]
_CYCLIC = [(p, f) for p in ((1, 2, 0), (2, 0, 1)) for f in ((), (0, 1), (0, 2), (1, 2))]
_SWAPPED = [(p, f) for p in ((0, 2, 1), (2, 1, 0), (1, 0, 2)) for f in ((0,), (1,), (2,), (0, 1, 2))]
ROTATIONS = _EVEN + _CYCLIC + _SWAPPED
ROTATION_COUNTS = (1, 4, 8, 24)


def default_batch(device: Device, size: tuple[int, int, int]) -> int:
    """Tiles of `size` voxels (zyx) to predict at once on a device."""
    return max(1, VOXELS_AT_ONCE.get(device.name.partition(":")[0], 0) // int(np.prod(size)))


class Runner:
    """A network on a device: predicts batches of tiles, and makes do with the memory there is.

    Parameters
    ----------
    network
        It is moved to the device, and stays there.
    device
        A GPU is trusted only if it gives, for a tile of noise, the numbers that the CPU gives.
    batch_size
        Tiles that are to be predicted at once; halved when memory runs out.
    rotations
        Orientations to average over.

    Raises
    ------
    DeviceError
        If the network cannot be moved to the device, does not run there, or gives other numbers than on the CPU.
    """

    def __init__(self, network: torch.nn.Module, device: Device, batch_size: int, rotations: int) -> None:
        self.torch = import_torch()
        self.device = device
        self.batch_size = max(1, batch_size)
        self.rotations = 1  # until the device is trusted: all are turned alike
        self.notes: list[str] = []
        self._largest = 0  # bytes of the largest array that a layer read or wrote
        self._cuda = device.name.startswith("cuda")
        trusted = copy.deepcopy(network).to("cpu") if device.name != "cpu" else None
        try:
            self.network = network.to(device.name)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0].rstrip(".")  # PyTorch goes on with advice for programmers
            raise DeviceError(f"The model could not be moved to {device.label} ({reason})", "use device cpu") from error
        if trusted is not None:
            self._agree_with(trusted)
        self.rotations = rotations
        if self._cuda:
            self.torch.cuda.reset_peak_memory_stats(device.name)

    def _agree_with(self, trusted: torch.nn.Module) -> None:
        """Refuse a device on which the network gives other numbers than its copy on the CPU.

        Raises
        ------
        DeviceError
            If it does, or cannot run the network at all.
        """
        tile = np.random.default_rng(0).standard_normal((1, PROBE, PROBE, PROBE), dtype=np.float32)
        found, right = (runner(tile, lambda _: None) for runner in (self, Runner(trusted, Device("cpu", "CPU"), 1, 1)))
        # an offset counts, and NaN fails
        if found is None or right is None or not np.sqrt(np.mean((found - right) ** 2)) <= PROBE_DIFFERENCE * np.std(right):
            raise DeviceError(f"With PyTorch {self.torch.__version__} {self.device.label} gives other numbers than the CPU",
                              "use device cpu, or another version of PyTorch")

    def __call__(self, batch: np.ndarray, tick: Callable[[float], None]) -> np.ndarray | None:
        """Predict a batch (B, D, H, W).

        Before every layer ``tick(part)`` is called with the part of this batch that is done, from 0 to 1, so that a slow
        machine still tells how far it is, and hears Cancel.

        Returns None, with `batch_size` halved and a note made, if memory ran out.

        Raises
        ------
        DeviceError
            If the device lacks an operation that the network needs, or memory for a single tile.
        MapError
            If that is main memory.
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
        # Outside of the handler: the error holds on to the tensors that filled the memory.
        self.release()
        if len(batch) == 1:
            size = " x ".join(str(n) for n in batch.shape[:0:-1])
            lack = f"too little free memory for one tile of {size} voxels"
            if self.device.name == "cpu":
                raise MapError(f"There is {lack}; close other programs.")
            raise DeviceError(f"{self.device.label}, has {lack}", "close other programs that use it, or use device cpu")
        self.batch_size = len(batch) // 2
        self.notes.append(f"Memory ran out with {len(batch)} tiles at once; went on with {self.batch_size}.")
        return None

    def memory(self, larger: float = 1.0) -> int:
        """Bytes that network and tiles have taken at the worst moment: counted on an NVIDIA GPU, else told from the layers.

        Where it is told, it may be for tiles that have `larger` times the voxels of those that were run.
        """
        if self._cuda:
            return self.torch.cuda.max_memory_reserved(self.device.name)
        return BUFFERS + int(LARGEST_IN_MEMORY * self._largest * larger) + sum(p.nbytes for p in self.network.parameters())

    def release(self) -> None:
        """Give memory that PyTorch keeps for later back to other programs, ChimeraX's own graphics among them."""
        if self._cuda:
            self.torch.cuda.empty_cache()
        elif self.device.name == "mps":
            self.torch.mps.empty_cache()

    def _note_size(self, _layer: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._largest = max(self._largest, *(x.nbytes for x in (*inputs, output) if isinstance(x, self.torch.Tensor)))

    def _forward(self, batch: np.ndarray) -> np.ndarray:
        torch = self.torch
        # A bfloat16 has 8 bits of precision: predictions differ by about half a percent of their deviation, and the input that a
        # network adds its answer to stays as it is. Entered only where wanted: older PyTorch has none for Apple GPUs.
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
    """Whether an error's message holds any of some words, in small letters."""
    text = str(error).lower()
    return any(word in text for word in words)
