"""Tests that the networks are built as the paper, or their own docstrings, describe."""

import pytest
import torch
from superem.nets import unet as unet_module
from torch import nn

from superem import nets


def test_generator_has_the_papers_layers():
    """A kernel-3 convolution to 32 channels, 15 blocks of two convolutions, and a last kernel-3 convolution from 32 channels."""
    network = nets.build("generator")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert len(convolutions) == 2 + 2 * 15
    assert {c.kernel_size for c in convolutions} == {(3, 3, 3)}
    assert {c.stride for c in convolutions} == {(1, 1, 1)}
    assert [c.in_channels for c in convolutions] == [1] + [32] * 31
    assert sum(isinstance(m, nn.InstanceNorm3d) for m in network.modules()) == 30
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout3d)} == {0.25}


def test_generator_gives_densities_between_zero_and_one_of_the_same_size():
    """For any input, the output has one density per voxel, in 0...1."""
    network = nets.build("generator", blocks=2).eval()
    x = 50 * torch.randn(2, 1, 25, 19, 7)
    y = network(x)
    assert y.shape == x.shape
    assert 0 <= y.min() and y.max() <= 1


def test_a_new_block_of_the_generator_is_the_identity():
    """A trained generator can be deepened without changing its output."""
    torch.manual_seed(0)
    shallow = nets.build("generator", blocks=1).eval()
    deep = nets.build("generator", blocks=3).eval()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    x = torch.rand(1, 1, 9, 9, 9)
    torch.testing.assert_close(deep(x), shallow(x))


def test_discriminator_has_the_papers_layers_and_two_logits():
    """Ten convolutions, from 32 channels and doubled every two; 16 groups, dropout 0.25, two logits (generated, real)."""
    network = nets.build("discriminator")
    convolutions = [m for m in network.layers if isinstance(m, nn.Conv3d)]
    assert [c.out_channels for c in convolutions] == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert {m.num_groups for m in network.layers if isinstance(m, nn.GroupNorm)} == {16}
    assert {m.p for m in network.layers if isinstance(m, nn.Dropout3d)} == {0.25}
    assert network.eval()(torch.rand(3, 1, 25, 25, 25)).shape == (3, 2)


def test_unet_starts_as_the_identity():
    """An untrained U-Net returns its input, so that training starts from there."""
    x = torch.randn(2, 1, 24, 16, 32)
    torch.testing.assert_close(nets.build("unet")(x), x)


@pytest.fixture(params=[True, False], ids=["normalised", "plain"])
def unet(request):
    """A small U-Net that is not the identity."""
    torch.manual_seed(1)
    network = nets.build("unet", widths=(16, 16), depths=(1, 1), norm=request.param).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 9, 30), (25, 25, 25), (17, 8, 3)])
def test_unet_takes_any_size(unet, shape):
    """Sizes that cannot be halved evenly are padded inside the network, and cropped again."""
    assert unet(torch.rand(1, 1, *shape)).shape == (1, 1, *shape)


def test_unet_values_do_not_depend_on_far_density(unet):
    """There is no normalisation over the tile: changing one end of a tile leaves the other end as it was."""
    x = torch.rand(1, 1, 16, 16, 64)
    changed = x.clone()
    changed[..., -4:] = 0
    torch.testing.assert_close(unet(changed)[..., :16], unet(x)[..., :16])


def test_unknown_architectures_and_options_are_refused():
    """The error is one sentence, and names the known architectures."""
    with pytest.raises(ValueError, match="generator, unet"):
        nets.build("resnet")
    with pytest.raises(ValueError, match="cannot be built"):
        nets.build("unet", colour="blue")


def test_growing_is_the_transposed_convolution():
    """The result equals that of PyTorch's own transposed convolution."""
    grow, x = unet_module.Grow(5, 3), torch.randn(2, 5, 3, 4, 6)
    torch.testing.assert_close(grow(x), nn.functional.conv_transpose3d(x, grow.weight, grow.bias, stride=2))


def test_channels_are_normalised_in_the_type_they_come_in():
    """The channels of each voxel get mean 0 and standard deviation 1, in bfloat16 within autocast and in float32 without it."""
    x = 3 + 5 * torch.randn(1, 64, 4, 4, 4)
    norm = unet_module.ChannelNorm()
    assert norm(x).dtype == torch.float32
    torch.testing.assert_close(norm(x).std(1, correction=0), torch.ones(1, 4, 4, 4), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(norm(x).mean(1), torch.zeros(1, 4, 4, 4), rtol=0, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.bfloat16()).dtype == torch.bfloat16
