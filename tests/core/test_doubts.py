"""Tests of what makes a result doubtful, because of its map or its resolution."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from superem.core.density import DensityMap
from superem.core.doubts import looks_inverted, looks_like_mask
from superem.core.predict import enhance


def noise(shape, **geometry):
    return DensityMap(np.random.default_rng(0).normal(size=shape), **geometry)


@pytest.mark.parametrize(("change", "mask"), [
    (lambda a: a > 0.5, True), (lambda a: np.clip(4 * a - 1, 0, 1), True),
    (lambda a: a, False), (lambda a: np.clip(a, 0.1, 0.95), False), (lambda a: np.where(a > 0.9999, 50, a), False),
], ids=["hard mask", "soft mask", "density", "clipped density", "a spike"])
def test_masks_are_told_from_density(make_blob, change, mask):
    blob = make_blob((30, 30, 30), (0, 0, 0), (1, 1, 1), (15, 15, 15), sigma=5)
    assert looks_like_mask(DensityMap(change(blob.array))) is mask


def test_inverted_contrast_is_told_from_density_and_noise(make_blob):
    """Scale and offset do not matter; noise alone does not look inverted, whatever its sign."""
    array = make_blob((30, 30, 30), (0, 0, 0), (1, 1, 1), (15, 15, 15), sigma=4).array + 0.05 * noise((30, 30, 30)).array
    for scale, offset in ((1, 0), (1e-6, 0), (1e5, 3e5)):
        assert not looks_inverted(DensityMap(scale * array + offset))
        assert looks_inverted(DensityMap(offset - scale * array))
    assert not looks_inverted(noise((30, 30, 30))) and not looks_inverted(DensityMap(-noise((30, 30, 30)).array))


def test_a_map_beyond_the_networks_range_is_doubted(make_model):
    """The doubt comes from the given resolution, or from a prediction that does not agree with its map, and from nothing else."""
    class Other(torch.nn.Module):
        def forward(self, x):
            return torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    density, table = noise((40, 40, 40)), [[2.5, 0.0], [4.5, 1.0]]
    same = make_model(blur=table)
    assert enhance(density, same, skip_empty=False, device="cpu").report.doubt is None
    assert enhance(density, same, device="cpu", resolution=6.0).report.doubt is None
    assert "A map of 7 Å is coarser" in enhance(density, same, device="cpu", resolution=7).report.doubt
    other = enhance(density, make_model(Other(), blur=table), skip_empty=False, device="cpu").report
    assert other.resolution > 6 and "hardly agrees" in other.doubt


def test_voxels_bound_the_resolution_that_is_found(make_model):
    """An identity network agrees with its input even at frequencies that the original, coarser voxels cannot hold."""
    model = make_model(blur=[[2.0, 0.0], [4.5, 1.0]])
    for voxel, found, doubted in ((0.8, 2.0, False), (1.7, 3.4, False), (3.1, 6.2, True)):
        report = enhance(noise((30, 30, 30), step=(voxel, 0.8, 0.8)), model, skip_empty=False, device="cpu").report
        assert report.resolution == pytest.approx(found)
        assert bool(report.doubt) == doubted
    assert "voxels of 3.1 Å, which hold nothing finer than 6.2 Å" in report.doubt


def test_a_resolution_that_is_too_fine_gets_a_note(make_model):
    """Detail that the map cannot support would otherwise be left sharp."""
    class Rough(torch.nn.Module):
        def forward(self, x):
            return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    density = DensityMap(ndimage.gaussian_filter(noise((40, 40, 40)).array, 1.5))
    model = make_model(Rough(), blur=[[2.0, 0.0], [9.0, 0.5]], follow=0.5)
    agreed = enhance(density, model, skip_empty=False, device="cpu").report.resolution
    assert 3 < agreed < 12
    for resolution, noted in ((agreed / 1.3, True), (agreed / 1.1, False), (agreed * 1.3, False)):
        notes = enhance(density, model, skip_empty=False, device="cpu", resolution=resolution).report.notes
        assert bool(notes) == noted
        assert not noted or f"agree only down to {agreed:.2g} Å, not to the {resolution:g} Å that were given" in notes[0]


def test_a_map_that_is_too_fine_to_gain_gets_a_note(make_model):
    """The note depends on how far the network agrees with the map, not on the given resolution."""
    model = make_model(blur=[[2.0, 0.0], [9.0, 0.5]], follow=0.5)
    for voxel, noted in ((1.0, True), (1.35, True), (1.45, False)):
        for resolution in (None, 3.0):
            density = noise((30, 30, 30), step=(voxel,) * 3)
            notes = enhance(density, model, skip_empty=False, device="cpu", resolution=resolution).report.notes
            assert bool(notes) == noted
    notes = enhance(noise((30, 30, 30)), model, skip_empty=False, device="cpu").report.notes
    assert "agree down to 2 Å" in notes[0] and "Prefer the original" in notes[0]
    both = enhance(noise((30, 30, 30)), model, skip_empty=False, device="cpu", resolution=1.5).report.notes
    assert len(both) == 2 and "finer detail may be invented" in both[1]


def test_inverted_contrast_is_doubted(make_model, make_blob):
    blob = make_blob((20, 20, 20), (0, 0, 0), (1, 1, 1), (10, 10, 10))
    assert enhance(blob, make_model(), device="cpu").report.doubt is None
    inverted = DensityMap(1 - blob.array, name="emd_1.map")
    assert "emd_1.map looks inverted in contrast" in enhance(inverted, make_model(), device="cpu").report.doubt
