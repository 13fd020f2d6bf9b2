"""Tests of which device is chosen, and of the message if one is missing."""

import builtins
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from superem.core import devices
from superem.core.devices import DeviceError, choose


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes PyTorch report the given devices, and a driver present or missing."""

    def pretend(gpus=0, mps=False, driver=False, cuda_build=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(name=f"GPU {i}", total_memory=2**33))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(devices, "has_nvidia_driver", lambda: driver)
        monkeypatch.setattr(torch.version, "cuda", cuda_build)

    return pretend


def test_auto_takes_the_best_and_says_why(machine):
    machine(gpus=2, mps=True)
    device, reason = choose("auto")
    assert (device.name, device.label, reason) == ("cuda:0", "GPU 0, 8 GB", "the first GPU")
    machine(mps=True)
    assert choose("auto")[0].name == "mps"
    machine()
    device, reason = choose("auto")
    assert device.name == "cpu" and "no NVIDIA GPU was found" in reason
    machine(driver=True)
    assert "not built for it" in choose("auto")[1]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the system does not list what its CPU can do")
def test_bfloat16_is_used_where_the_cpu_multiplies_it():
    short = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    assert choose("cpu")[0].bfloat16 == short


def test_without_a_word_from_pytorch_no_bfloat16_is_used(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not choose("cpu")[0].bfloat16


def test_devices_by_name(machine):
    machine(gpus=2)
    assert choose("cuda")[0].name == "cuda:0"
    assert choose("cuda:1")[0].name == "cuda:1"
    assert choose("cpu")[0].name == "cpu"


@pytest.mark.parametrize("request_, there, words", [
    ("cuda", {}, "no NVIDIA GPU was found"),
    ("cuda", {"driver": True}, "not built for it.*pip uninstall torch.*pip install \"torch>=2.2,<2.13\""),
    ("cuda:0", {"driver": True, "cuda_build": "12.8"}, "update its driver.*12.8"),
    ("cuda:3", {"gpus": 2}, "only cuda:0, cuda:1"),
    ("mps", {"gpus": 1}, "Apple GPU"),
    ("gpu", {}, "choose auto, cuda"),
    ("cuda:x", {"gpus": 1}, "choose auto, cuda"),
    ("cuda:", {"gpus": 1}, "choose auto, cuda"),
    ("cpu:1", {}, "choose auto, cuda"),
])
def test_a_named_device_that_is_not_there_is_an_error(machine, request_, there, words):
    machine(**there)
    with pytest.raises(DeviceError, match=words):
        choose(request_)


def test_cpu_only_build_on_windows(machine, monkeypatch):
    """On Windows the package index has only CPU builds; the commands name the right Python and folder."""
    machine(driver=True)
    monkeypatch.setattr(devices.sys, "platform", "win32")
    monkeypatch.setattr(devices.sys, "executable", "/Program Files/ChimeraX/bin/ChimeraX.exe")
    with pytest.raises(DeviceError) as caught:
        choose("cuda")
    python, folder = '"/Program Files/ChimeraX/bin/python.exe"', Path(torch.__file__).parent.parent
    assert f"{python} -m pip install uv, then: {python} -m uv pip install --python {python}" in str(caught.value)
    assert f'--target "{folder}" --reinstall --no-deps --torch-backend auto "{devices.TORCH}"' in str(caught.value)


def test_a_driver_is_found_by_its_files(monkeypatch, tmp_path):
    """On Linux by the kernel's or by its program, on Windows by its library."""
    there = Path("/proc/driver/nvidia/version").exists()
    for program, found in (("/usr/bin/nvidia-smi", True), (None, there)):
        monkeypatch.setattr(devices.shutil, "which", lambda _name, program=program: program)
        assert devices.has_nvidia_driver() is found
    monkeypatch.setattr(devices.sys, "platform", "win32")
    monkeypatch.setenv("SystemRoot", str(tmp_path))
    assert devices.has_nvidia_driver() is False
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert devices.has_nvidia_driver() is True


def test_the_cpu_stands_in_for_a_gpu_that_auto_chose_and_for_nothing_else(machine):
    machine(gpus=1)
    gpu, cpu = devices.available()
    assert devices.instead_of(gpu, "auto") == cpu
    assert devices.instead_of(gpu, "cuda") is None and devices.instead_of(cpu, "auto") is None


def test_torch_that_is_missing(monkeypatch):
    real = builtins.__import__

    def without_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(DeviceError, match="pip install \"torch>=2.2,<2.13\""):
        choose("auto")
