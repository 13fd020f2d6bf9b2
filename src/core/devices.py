"""Devices for the network: find those that PyTorch can use, choose one, and say why."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

#: Requirement for pip, the same as in bundle_info.xml, which gives the reasons.
TORCH = "torch>=2.2,<2.13"
#: Valid names of devices, as a pattern and in words.
REQUEST = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
REQUESTS = "auto, cuda, cuda:N, mps, or cpu"


class DeviceError(RuntimeError):
    """A device that cannot be used; the message is one clear sentence for the user, `reason` its part before the advice."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}; {advice}." if advice else reason)
        self.reason = reason


@dataclass(frozen=True)
class Device:
    """A device, by PyTorch's name ("cuda:0", "mps", "cpu") and by a label for the user.

    If `bfloat16` is true, convolutions use 16-bit numbers and 32-bit sums.
    """

    name: str
    label: str
    bfloat16: bool = False


def import_torch() -> ModuleType:
    """Return the torch module.

    Raises
    ------
    DeviceError
        If PyTorch is not installed, or is broken.
    """
    try:
        import torch
    except (ImportError, OSError) as error:  # a broken library raises OSError on Windows
        raise DeviceError(
            f"SuperEM needs PyTorch, which could not be loaded ({error}); install it with: pip install \"{TORCH}\""
        ) from error
    return torch


def available() -> list[Device]:
    """List the available devices, best first; the CPU is always last."""
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
    """Return whether this CPU has bfloat16 instructions, which halve the time; without them, bfloat16 is emulated."""
    asked = getattr(import_torch().cpu, "_is_avx512_bf16_supported", None)  # not in every version of PyTorch
    return asked is not None and bool(asked())


def choose(request: str = "auto") -> tuple[Device, str]:
    """Return a device, and in a few words why it was chosen.

    Parameters
    ----------
    request : str
        "auto" for the best device available, or one of `REQUESTS`.

    Raises
    ------
    DeviceError
        If the named device is not available, or the name is not valid.
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
        raise DeviceError("Device mps (an Apple GPU) was requested, but PyTorch finds none here; use device auto.")
    gpus = [n for n in names if n.startswith("cuda")]
    if gpus:
        raise DeviceError(f"Device {request} was requested, but there is only {', '.join(gpus)}.")
    raise DeviceError(f"Device {request} was requested, but {_why_no_cuda()}.")


def instead_of(failed: Device, request: str) -> Device | None:
    """Return the CPU if "auto" chose a GPU that lacks an operation or memory; None if no other device is allowed."""
    return available()[-1] if request == "auto" and failed.name != "cpu" else None


def _why_best(device: Device) -> str:
    if device.name.startswith("cuda"):
        return "the first GPU"
    return "the Apple GPU of this Mac" if device.name == "mps" else _why_no_cuda()


def _why_no_cuda() -> str:
    """Say why no NVIDIA GPU can be used, and how to fix that."""
    if not has_nvidia_driver():
        return "no NVIDIA GPU was found on this machine"
    cuda = import_torch().version.cuda
    if cuda is None:  # built for CPUs only, or for AMD GPUs
        return f"this machine has an NVIDIA GPU but the PyTorch installed here was not built for it; {_replace_torch()}"
    return f"PyTorch cannot use the NVIDIA GPU of this machine; update its driver, which must support CUDA {cuda}"


def _replace_torch() -> str:
    """Say how to replace PyTorch by a build for NVIDIA GPUs.

    On Linux, pip installs one, both from ChimeraX's command line and from a terminal. On Windows, the package index has
    CPU-only builds, and ChimeraX's `pip` accepts no other index; the installer uv knows PyTorch's own index and picks
    the build that fits the driver. It must replace PyTorch in its present folder (its dependencies stay), and while no
    program uses it.
    """
    if sys.platform != "win32":
        return f'replace it with: pip uninstall torch, then: pip install "{TORCH}", then restart'
    python = Path(sys.executable).with_name("python.exe")  # ChimeraX's own executable is not a console program
    folder = Path(str(import_torch().__file__)).parents[1]
    return (f'replace it: close ChimeraX, and in a terminal (Command Prompt) run "{python}" -m pip install uv, then: "{python}" '
            f'-m uv pip install --python "{python}" --target "{folder}" --reinstall --no-deps --torch-backend auto "{TORCH}"')


def has_nvidia_driver() -> bool:
    """Return whether an NVIDIA driver is installed, whatever PyTorch was built for."""
    if sys.platform == "win32":
        return (Path(os.environ.get("SystemRoot", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
