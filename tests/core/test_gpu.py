"""Tests of the prediction on an NVIDIA GPU, if there is one."""

import numpy as np
import pytest
import torch
from superem.core.density import DensityMap
from superem.core.devices import available
from superem.core.estimate import estimate
from superem.core.predict import Cancelled, enhance
from superem.nets import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")


@pytest.fixture
def model(make_model):
    """A network of the shipped architecture that is not the identity."""
    torch.manual_seed(0)
    network = build("unet", widths=[32, 64, 96], depths=[2, 3, 4])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return make_model(network.eval(), tile=80, margin=8)


@pytest.fixture
def density():
    return DensityMap(np.random.default_rng(0).random((120, 100, 110)), step=(1.2, 1.2, 1.2))


def test_same_map_as_on_the_cpu(model, density):
    done = enhance(density, model, device="cuda", rotations=4)
    wanted = enhance(density, model, device="cpu", rotations=4)
    assert done.report.device_name.startswith("cuda") and done.report.batch_size > 1
    assert np.abs(done.density.array - wanted.density.array).max() < 0.01 * np.ptp(wanted.density.array)


def test_memory_is_foretold_and_given_back(model, density):
    """The estimate is right within 30 per cent, and PyTorch keeps only a small part of the memory after a run."""
    found = estimate(density, model, device="cuda")
    enhance(density, model, device="cuda")
    took = torch.cuda.max_memory_reserved()
    assert 0.7 < found.gpu_memory / took < 1.3
    assert torch.cuda.memory_reserved() < took / 4


def test_a_batch_that_is_too_large_is_halved(model, density, monkeypatch):
    """PyTorch is limited to the memory of about three tiles."""
    total = torch.cuda.get_device_properties(0).total_memory
    one = estimate(density, model, device="cuda", batch_size=1).gpu_memory
    torch.cuda.set_per_process_memory_fraction(3 * one / total)
    try:
        done = enhance(density, model, device="cuda", batch_size=8, skip_empty=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert done.report.batch_size < 8 and any("Memory ran out" in note for note in done.report.notes)
    assert np.isfinite(done.density.array).all()


def test_cancel(model, density):
    with pytest.raises(Cancelled):
        enhance(density, model, device="cuda", progress=lambda done, total: done == 0)


def test_it_is_listed_first_with_its_memory():
    first = available()[0]
    assert first.name == "cuda:0" and first.label.endswith("GB")
