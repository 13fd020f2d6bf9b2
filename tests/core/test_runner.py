"""Tests of devices that lack memory or an operation, or calculate wrongly; and of the orientations."""

import itertools

import numpy as np
import pytest
import torch
from superem.core import devices, predict, runner
from superem.core.density import DensityMap, MapError
from superem.core.devices import DeviceError
from superem.core.estimate import estimate
from superem.core.predict import enhance
from superem.core.runner import PROBE, Runner


def noise(shape):
    return DensityMap(np.random.default_rng(0).normal(size=shape))


def matrices():
    """Yield the rotations as (3, 3) matrices."""
    for order, flips in runner.ROTATIONS:
        matrix = np.eye(3)[list(order)]
        matrix[list(flips)] *= -1
        yield matrix


def test_rotations_are_the_24_proper_ones_and_well_spread():
    found = list(matrices())
    assert len({m.tobytes() for m in (np.rint(m).astype(int) for m in found)}) == 24
    assert all(np.linalg.det(m) == pytest.approx(1) for m in found)  # no mirror images: handedness is kept

    def closest(count):
        return min(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)))
                   for a, b in itertools.combinations(found[:count], 2))

    assert closest(4) == pytest.approx(180)
    assert closest(8) == pytest.approx(120)
    assert closest(24) == pytest.approx(90)
    assert np.allclose(found[0], np.eye(3))


class Hungry(torch.nn.Module):
    """A network that runs out of memory for more than `most` tiles at once."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.sizes = most, error, []

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        self.sizes.append(len(x))
        return x


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    RuntimeError("Invalid buffer size: 9.75 GB"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    MemoryError(),
])
def test_out_of_memory_halves_the_batch_and_goes_on(make_model, error):
    density, ticks = noise((60, 60, 60)), []
    network = Hungry(3, error)
    done = enhance(density, make_model(network), batch_size=16, skip_empty=False, device="cpu", rotations=4,
                   progress=lambda *tick: ticks.append(tick))
    assert np.abs(done.density.array - density.array).max() < 1e-4  # no tile is lost or added twice
    assert done.report.batch_size == 2 and max(network.sizes) == 2
    assert [note for note in done.report.notes if "continued with 2" in note]
    assert ticks[-1][0] == ticks[-1][1] == done.report.tiles_run
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(ticks))


def test_out_of_memory_for_one_tile_is_said(make_model):
    with pytest.raises(MapError, match="too little free memory for one tile of 32 x 32 x 32 voxels; close other programs"):
        enhance(noise((60, 60, 60)), make_model(Hungry(0, MemoryError())), skip_empty=False, device="cpu")


@pytest.mark.parametrize("error", [
    NotImplementedError("The operator 'aten::slow_conv3d_forward' is not currently implemented for the MPS device."),
    NotImplementedError("Could not run 'aten::conv3d' with arguments from the 'CUDA' backend."),
    RuntimeError("Conv3D is not supported on MPS"),
    RuntimeError("Conv3D is only supported on MPS for MacOS_13_2 or newer"),
    RuntimeError("\"LayerNormKernelImpl\" not implemented for 'Half'"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input."),
    RuntimeError("GET was unable to find an engine to execute this computation"),
])
def test_operation_that_a_device_lacks_is_said(make_model, error):
    """The messages are PyTorch's on Apple and NVIDIA GPUs; if memory may be the reason, a smaller batch is tried first."""
    with pytest.raises(DeviceError, match="PyTorch cannot run this model on CPU.*; get another PyTorch"):
        enhance(noise((60, 60, 60)), make_model(Hungry(0, error)), batch_size=4, skip_empty=False, device="cpu")
    with pytest.raises(DeviceError, match="PyTorch cannot run this model on Some GPU; use device cpu"):
        Runner(Hungry(0, error), devices.Device("cpu:0", "Some GPU"), 4, 1)


@pytest.mark.parametrize("words", ["shapes do not match", "Only tensors of floating point are supported; see our support page"])
def test_other_errors_of_the_network_are_not_hidden(make_model, words):
    with pytest.raises(RuntimeError, match=words) as caught:
        enhance(noise((9, 9, 9)), make_model(Hungry(0, RuntimeError(words))), skip_empty=False, device="cpu")
    assert caught.type is RuntimeError


def test_auto_goes_on_with_the_cpu_where_a_gpu_lacks_an_operation(make_model, monkeypatch):
    """PyTorch's "meta" device, which cannot return values, stands for a GPU."""
    there = [devices.Device("meta", "Some GPU"), devices.Device("cpu", "CPU, 1 thread")]
    monkeypatch.setattr(devices, "available", lambda: there)
    density = noise((9, 9, 9))
    report = enhance(density, make_model(), skip_empty=False).report
    assert report.device == "CPU, 1 thread" and "Continued on the CPU: " in report.notes[0] and "Some GPU" in report.notes[0]
    assert report.device_reason == "in place of Some GPU"
    assert estimate(density, make_model()).device.name == "cpu"


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as the best device; "cpu:0", which is PyTorch's name for the CPU but not ours, stands for it."""
    monkeypatch.setattr(devices, "available", lambda: [devices.Device("cpu:0", "Some GPU, 2 GB"), devices.Device("cpu", "CPU")])


@pytest.mark.parametrize("wrong, trusted", [
    (lambda y: y, True), (lambda y: 1.01 * y, True),  # an error that lower precision may cause
    (lambda y: y.swapaxes(1, 2), False), (lambda y: np.nan * y, False), (lambda y: 1.1 * y, False),
    (lambda y: y + 1, False),
])
def test_a_gpu_that_calculates_wrongly_is_not_used(make_model, gpu, monkeypatch, wrong, trusted):
    """PyTorch reports no error; only the comparison with the CPU shows it."""
    forward = Runner._forward
    monkeypatch.setattr(Runner, "_forward",
                        lambda self, x: wrong(forward(self, x)) if self.device.name == "cpu:0" else forward(self, x))
    density = noise((40, 40, 40))
    done = enhance(density, make_model(), skip_empty=False)
    assert done.report.device == ("Some GPU, 2 GB" if trusted else "CPU")
    assert estimate(density, make_model()).device.name == ("cpu:0" if trusted else "cpu")
    if not trusted:
        assert np.abs(done.density.array - density.array).max() < 1e-4
        assert "Some GPU, 2 GB gives different numbers from the CPU" in done.report.notes[0]


class Faint(torch.nn.Module):
    def forward(self, x):
        return 0.01 * x


def test_wrong_numbers_are_seen_however_small_they_are(make_model, gpu, monkeypatch):
    """Differences are judged relative to the network's own output, which may be small."""
    forward = Runner._forward
    monkeypatch.setattr(Runner, "_forward", lambda self, x: forward(self, x) * (-1 if self.device.name == "cpu:0" else 1))
    assert enhance(noise((20, 20, 20)), make_model(Faint()), skip_empty=False).report.device == "CPU"


def test_memory_is_given_back_before_less_is_asked_for_and_at_the_end(make_model, monkeypatch):
    given_back, network = [], Hungry(3, MemoryError())
    monkeypatch.setattr(Runner, "release", lambda self: given_back.append((self.batch_size, len(network.sizes))))
    enhance(noise((60, 60, 60)), make_model(network), batch_size=8, skip_empty=False, device="cpu")
    assert given_back == [(8, 0), (4, 0), (2, len(network.sizes))]
    given_back.clear()
    with pytest.raises(predict.Cancelled):
        enhance(noise((60, 60, 60)), make_model(), skip_empty=False, device="cpu", progress=lambda done, _: done < 1)
    assert len(given_back) == 1


@pytest.mark.parametrize("backend", ["cuda", "mps"])
def test_a_gpu_s_memory_is_given_back_to_other_programs(monkeypatch, backend):
    """ChimeraX's own graphics needs it. No GPU is needed here: only what PyTorch is asked for counts."""
    emptied, used = [], Runner(torch.nn.Identity(), devices.Device("cpu", "CPU"), 1, 1)
    for name in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, name), "empty_cache", lambda name=name: emptied.append(name))
    used.release()
    assert not emptied
    used.device, used._cuda = devices.Device(backend, "Some GPU"), backend == "cuda"
    used.release()
    assert emptied == [backend]


def test_a_gpu_gets_more_at_once_than_a_cpu():
    """A CPU gets one tile at a time, so that it soon notices Cancel."""
    cuda, mps, cpu = (runner.default_batch(devices.Device(name, ""), (64, 64, 64)) for name in ("cuda:1", "mps", "cpu"))
    assert cuda > mps > cpu == 1
    assert runner.default_batch(devices.Device("cuda:0", ""), (512, 512, 512)) == 1


class Recovers(Hungry):
    """A network that runs out of memory `times` times, for tiles of the usual size."""

    def __init__(self, times):
        super().__init__(0, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
        self.times = times

    def forward(self, x):
        usual = x.shape[-1] > PROBE
        self.times -= usual
        self.most = 0 if usual and self.times >= 0 else len(x)
        return super().forward(x)


def test_auto_goes_on_with_the_cpu_where_a_gpu_has_no_memory_for_one_tile(make_model, gpu):
    density = noise((60, 60, 60))
    done = enhance(density, make_model(Recovers(3)), batch_size=4, skip_empty=False)  # for batches of 4, 2 and 1
    assert np.abs(done.density.array - density.array).max() < 1e-4
    assert (done.report.device, done.report.device_reason) == ("CPU", "in place of Some GPU, 2 GB")
    assert done.report.notes == (
        "Continued on the CPU: Some GPU, 2 GB, has too little free memory for one tile of 32 x 32 x 32 voxels.",)
    assert estimate(density, make_model(Recovers(1))).device.name == "cpu"


def test_a_gpu_by_name_without_memory_for_one_tile_is_an_error(make_model, monkeypatch):
    for module in ("predict", "estimate"):
        monkeypatch.setattr(f"superem.core.{module}.choose", lambda _: (devices.Device("cpu:0", "Some GPU, 2 GB"), "as asked"))
    with pytest.raises(DeviceError, match="Some GPU, 2 GB, has too little free memory .* or use device cpu"):
        enhance(noise((60, 60, 60)), make_model(Recovers(9)), skip_empty=False, device="cuda")
    with pytest.raises(DeviceError, match="Some GPU, 2 GB, has too little free memory .* or use device cpu"):
        estimate(noise((60, 60, 60)), make_model(Recovers(9)), device="cuda")
