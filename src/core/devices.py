"""Where the network runs: finding the devices that PyTorch can use, choosing one, and saying why."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

#: What is asked of pip, as in bundle_info.xml, which says why.
TORCH = "torch>=2.2,<2.13"
#: What a device is asked for by, and how that is told.
REQUEST = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
REQUESTS = "auto, cuda, cuda:N, mps, or cpu"


class DeviceError(RuntimeError):
    """A device that cannot be used; the message is one clear sentence for the user, and `reason` its part before the advice."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}; {advice}." if advice else reason)
        self.reason = reason


@dataclass(frozen=True)
class Device:
    """A device by PyTorch's name ("cuda:0", "mps", "cpu") and in words.

    Where `bfloat16` is true, convolutions are calculated with numbers of 16 bits, and summed with 32.
    """

    name: str
    label: str
    bfloat16: bool = False


def import_torch() -> ModuleType:
    """Return the module torch.

    Raises
    ------
    DeviceError
        If PyTorch is not installed, or is broken.
    """
    try:
        import torch
    except (ImportError, OSError) as error:  # a broken library is an OSError on Windows
        raise DeviceError(
            f"SuperEM needs PyTorch, which could not be loaded ({error}); install it with: pip install \"{TORCH}\""
        ) from error
    return torch


def available() -> list[Device]:
    """List the devices that can be used, best first; the CPU is always the last one."""
    torch = import_torch()
    devices = []
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(i)
            devices.append(Device(f"cuda:{i}", f"{found.name}, {found.total_memory / 2**30:.0f} GB"))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    threads = torch.get_num_threads()
    devices.append(Device("cpu", f"CPU, {threads} thread{'s' if threads > 1 else ''}", multiplies_bfloat16()))
    return devices


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers itself, which takes it half the time; others would have to imitate it."""
    asked = getattr(import_torch().cpu, "_is_avx512_bf16_supported", None)  # not in every version of PyTorch
    return asked is not None and bool(asked())


def choose(request: str = "auto") -> tuple[Device, str]:
    """Choose a device, and say why in a few words.

    Parameters
    ----------
    request : str
        "auto" for the best there is, or one of `REQUESTS`.

    Raises
    ------
    DeviceError
        If a device was asked for by name and is not there, or the name means nothing.
    """
    devices = available()
    names = [d.name for d in devices]
    if request == "auto":
        return devices[0], _why_best(devices[0])
    if not REQUEST.fullmatch(request):
        raise DeviceError(f"There is no device {request!r}; choose {REQUESTS}.")
    kind, _, number = request.partition(":")
    wanted = f"cuda:{int(number or 0)}" if kind == "cuda" else kind
    if wanted in names:
        return devices[names.index(wanted)], "as asked"
    if kind == "mps":
        raise DeviceError("Device mps (an Apple GPU) was asked for, but PyTorch finds none here; use device auto.")
    gpus = [n for n in names if n.startswith("cuda")]
    if gpus:
        raise DeviceError(f"Device {request} was asked for, but there is only {', '.join(gpus)}.")
    raise DeviceError(f"Device {request} was asked for, but {_why_no_cuda()}.")


def instead_of(failed: Device, request: str) -> Device | None:
    """Return the CPU, if "auto" chose a GPU that turned out to lack an operation or memory; None if nothing else is allowed."""
    return available()[-1] if request == "auto" and failed.name != "cpu" else None


def _why_best(device: Device) -> str:
    if device.name.startswith("cuda"):
        return "the first GPU"
    return "the Apple GPU of this Mac" if device.name == "mps" else _why_no_cuda()


def _why_no_cuda() -> str:
    """Say why no NVIDIA GPU can be used, and what mends it."""
    if not has_nvidia_driver():
        return "no NVIDIA GPU was found on this machine"
    cuda = import_torch().version.cuda
    if cuda is None:  # built for the CPU alone, or for AMD's GPUs
        return f"this machine has an NVIDIA GPU but the PyTorch installed here was not built for it; {_replace_torch()}"
    return f"PyTorch cannot use the NVIDIA GPU of this machine; update its driver, which must support CUDA {cuda}"


def _replace_torch() -> str:
    """Say how PyTorch is replaced by a build for NVIDIA GPUs.

    On Linux pip gets one, in ChimeraX's command line as in a terminal. On Windows the package index has CPU-only builds, and
    ChimeraX's `pip` takes no other index; the installer uv knows PyTorch's own and picks the build by the driver. It must
    replace PyTorch where it lies (its dependencies stay), and while no program uses it.
    """
    if sys.platform != "win32":
        return f'replace it with: pip uninstall torch, then: pip install "{TORCH}", then restart'
    python = Path(sys.executable).with_name("python.exe")  # ChimeraX's own is no console program
    folder = Path(str(import_torch().__file__)).parents[1]
    return (f'replace it: close ChimeraX, and in a terminal (Command Prompt) run "{python}" -m pip install uv, then: "{python}" '
            f'-m uv pip install --python "{python}" --target "{folder}" --reinstall --no-deps --torch-backend auto "{TORCH}"')


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is installed, whatever PyTorch was built for."""
    if sys.platform == "win32":
        return (Path(os.environ.get("SystemRoot", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
