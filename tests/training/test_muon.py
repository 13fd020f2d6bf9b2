"""Tests of Muon, the optimiser whose steps have equal length in all directions."""

import copy

import pytest
import torch

from superem import nets
from training.muon import Muon, hidden, orthogonal


@pytest.mark.parametrize("shape", [(16, 200), (200, 16), (64, 96)])
def test_muon_steps_are_alike_in_all_directions(shape):
    """Any singular values are brought near 1, and singular vectors do not change."""
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    singular = (u.T @ orthogonal(matrix) @ v.T)
    assert 0.6 < singular.diag().min() and singular.diag().max() < 1.3
    assert (singular - torch.diag(singular.diag())).abs().max() < 1e-3


def test_muon_learns_and_goes_on_where_it_was():
    """All parameters train at Adam's learning rate; a run that is saved and restored halfway gives the same result."""
    def network():
        torch.manual_seed(1)
        return nets.build("unet", widths=(16, 16), depths=(1, 1))

    x, y = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 8, 8, 8)

    def train(net, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            loss = (net(x) - y).square().mean()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    whole, parted = network(), network()
    before = {name: p.clone() for name, p in whole.named_parameters()}
    muon = Muon(whole.parameters(), 1e-2)
    assert train(whole, muon, 30) < 0.5 * float(x.square().mean())
    assert all(not torch.equal(p, before[name]) for name, p in whole.named_parameters())
    kernels = [p for p in whole.parameters() if hidden(p)]
    assert {tuple(p.shape[2:]) for p in kernels} == {(3, 3, 3), (2, 2, 2)} and all(min(p.shape[:2]) == 16 for p in kernels)
    first = Muon(parted.parameters(), 1e-2)
    train(parted, first, 15)
    second = Muon(parted.parameters(), 1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(parted, second, 15)
    for a, b in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(a, b)
