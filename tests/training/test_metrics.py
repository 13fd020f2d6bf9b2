"""Tests of the metrics on maps with known figures."""

from dataclasses import replace

import numpy as np
import pytest
from superem.core.density import DensityMap, MapError

from training.density import gaussian_density
from training.metrics import Atoms, Reference, evaluate_map, qscore
from training.metrics.ccmask import model_map, molecule_mask
from training.metrics.cubes import cube_correlations, cube_starts
from training.metrics.fsc import resolution_at, shell_correlation, soft_mask
from training.metrics.grid import distance_to_atoms, pearson, sample, spatial_frequency
from training.metrics.modelmap import hr_density, model_coefficients

SHAPE = (44, 48, 52)
ORIGIN = (-11.5, 3.0, 7.25)


def make_atoms(count=150, seed=1, lowest=12.0) -> Atoms:
    """Return carbon atoms at least 1.5 Å apart, well inside the box."""
    rng = np.random.default_rng(seed)
    xyz = [rng.uniform(lowest, np.array(SHAPE[::-1]) - lowest)]
    while len(xyz) < count:
        new = xyz[rng.integers(len(xyz))] + 1.5 * (lambda v: v / np.linalg.norm(v))(rng.standard_normal(3))
        inside = (new > lowest).all() and (new < np.array(SHAPE[::-1]) - lowest).all()
        if inside and min(np.linalg.norm(np.array(xyz) - new, axis=1)) > 1.49:
            xyz.append(new)
    n = np.ones(count)
    return Atoms(np.array(xyz) + ORIGIN, np.array(["C"] * count), 40 * n, n, np.arange(count) % 2 == 0, n < 0,
                 np.arange(count) // 5)


def grid(array=None) -> DensityMap:
    """Return a map on the tests' grid, empty by default."""
    return DensityMap(np.zeros(SHAPE) if array is None else array, ORIGIN)


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    """The atoms that all tests share."""
    return make_atoms()


@pytest.fixture(scope="module")
def reference(atoms) -> Reference:
    """Their reference at 4 Å."""
    return Reference.prepare(atoms, grid(), 4.0)


def test_the_target_itself_is_perfect(reference):
    """The high-resolution density itself has a correlation of 1 with HR, in cubes and near the model."""
    measured = evaluate_map(reference.hr, reference)
    assert measured["rscc"] == pytest.approx(1)
    assert measured["cube"] == pytest.approx(1)
    assert measured["cube_mean"] == pytest.approx(1)


def test_the_models_own_map_is_perfect(reference):
    """The model's map at the stated resolution has CC_mask and CC_box of 1, at any scale and offset."""
    measured = evaluate_map(grid(7 * reference.expected + 3), reference)
    assert measured["cc_mask"] == pytest.approx(1, abs=1e-5)
    assert measured["cc_box"] == pytest.approx(1, abs=1e-5)


def test_figures_look_where_they_say(reference):
    """CC_mask uses voxels inside the molecule, HR those within 3 Å, backbone Q-score those at the backbone, and no others."""
    junk = 5 * reference.expected.max() * np.random.default_rng(3).standard_normal(SHAPE)
    inside = evaluate_map(grid(np.where(reference.inside, reference.expected, junk)), reference)
    assert inside["cc_mask"] == pytest.approx(1, abs=1e-5) and inside["cc_box"] < 0.5
    near = grid(np.where(reference.near, reference.hr.array, junk))
    found = evaluate_map(near, reference)
    assert found["rscc"] == pytest.approx(1) and found["cube"] < 0.9
    q, backbone = qscore.scores(near, reference.points, reference.valid), reference.atoms.backbone
    assert found["q"] == pytest.approx(q.mean()) and found["q_backbone"] == pytest.approx(q[backbone].mean())
    assert abs(q[backbone].mean() - q[~backbone].mean()) > 1e-3


def test_the_models_map_ends_at_the_reported_resolution(atoms, reference):
    """It ends at 4 Å; the coefficients used for the FSC go further."""
    s = spatial_frequency(SHAPE, (1.0, 1.0, 1.0))
    spectrum = np.abs(np.fft.rfftn(reference.expected))
    assert spectrum[s > 0.251].max() < 1e-4 * spectrum.max() < spectrum[(s > 0.24) & (s < 0.25)].max()
    assert np.abs(reference.coefficients[(s > 0.3) & (s < 0.35)]).min() > 0


def test_hr_is_blunter_for_a_coarse_map(atoms):
    """An atom's peak falls with the cube of the target resolution: 1.8 Å, or 3.0 Å for maps coarser than 3.5 Å."""
    lone = replace(atoms.select(np.arange(len(atoms)) == 0), xyz=np.array(ORIGIN)[None] + [20, 20, 20])
    sharp, blunt = (hr_density(lone, grid(), resolution).array.max() for resolution in (3.5, 3.6))
    assert sharp / blunt == pytest.approx((3.0 / 1.8) ** 3, rel=1e-3)


def test_the_mask_of_an_atom_is_little_larger_than_the_atom(atoms):
    """Its radius is the van der Waals radius, 1.8 Å, plus 0.2 Å by which the probe exceeds the shrinking."""
    like = DensityMap(np.zeros((40, 40, 40)), step=(0.25, 0.25, 0.25))
    lone = replace(atoms.select(np.arange(len(atoms)) == 0), xyz=np.full((1, 3), 5.0))
    radius = (molecule_mask(lone, like).sum() * 0.25**3 * 3 / (4 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(2.0, abs=0.2)


def test_improvement_counts_cubes(reference):
    """The fractions are those of cubes that correlate better than before."""
    rng = np.random.default_rng(0)
    noisy = grid(reference.hr.array + 0.2 * rng.standard_normal(SHAPE))
    before = evaluate_map(noisy, reference)
    assert evaluate_map(reference.hr, reference, before)["improved"] == 1
    assert evaluate_map(noisy, reference, before)["improved"] == 0
    perfect = evaluate_map(reference.hr, reference)
    assert evaluate_map(noisy, reference, perfect)["improved_mean"] == 0


def test_noise_lowers_every_figure(reference):
    """No metric prefers noise."""
    rng = np.random.default_rng(0)
    clean = evaluate_map(grid(reference.expected), reference)
    noisy = evaluate_map(grid(reference.expected + reference.expected.std() * 2 * rng.standard_normal(SHAPE)), reference)
    for key in ("q", "q_backbone", "cc_mask", "cc_box", "rscc", "cube", "cube_mean"):
        assert noisy[key] < clean[key], key
    assert noisy["fsc05"] > clean["fsc05"]


def test_wrong_grids_are_refused(atoms, reference):
    """Maps on different grids cannot be compared."""
    with pytest.raises(MapError, match="1 Å"):
        Reference.prepare(atoms, DensityMap(np.zeros(SHAPE), ORIGIN, (1.3, 1.3, 1.3)), 4.0)
    with pytest.raises(MapError, match="does not lie on the map"):
        Reference.prepare(atoms, DensityMap(np.zeros(SHAPE), (500, 0, 0)), 4.0)
    with pytest.raises(MapError, match="grid"):
        evaluate_map(DensityMap(np.zeros((30, 30, 30))), reference)


def test_qscore_of_its_own_gaussian_is_one():
    """Isolated atoms that are Gaussians of σ = 0.6 Å score 1, except for interpolation errors; blurred ones score less."""
    step = 0.25
    xyz = np.array([[6.03, 5.98, 6.1], [14.07, 6.11, 5.93]])
    lone = Atoms(xyz, np.array(["C"] * 2), np.ones(2), np.ones(2), np.ones(2, bool), np.zeros(2, bool), np.arange(2))
    scores = []
    for sigma in (0.6, 0.9, 1.4):
        array = gaussian_density(xyz, np.ones(2), (48, 48, 80), sigma, step=(step,) * 3, cutoff=8)
        scores.append(qscore.qscore(DensityMap(array, step=(step,) * 3), lone))
    assert scores[0] == pytest.approx(1, abs=2e-3)
    # by definition, the correlation of two Gaussians over the radii used
    for sigma, score in zip((0.9, 1.4), scores[1:], strict=True):
        expected = np.corrcoef(np.exp(-0.5 * (qscore.RADII / 0.6) ** 2), np.exp(-0.5 * (qscore.RADII / sigma) ** 2))[0, 1]
        assert score == pytest.approx(expected, abs=5e-3)
    assert qscore.qscore(DensityMap(-array, step=(step,) * 3), lone) == pytest.approx(-scores[-1])


def test_qscore_points_keep_clear_of_other_atoms(atoms):
    """Every valid point lies at its radius, and at least 0.9 times the radius from all other atoms."""
    points, valid = qscore.probes(atoms.xyz)
    assert valid[:, :10].all()
    for shell in (3, 12, 20):
        radius = qscore.RADII[shell]
        own = np.linalg.norm(points[:, shell] - atoms.xyz[:, None], axis=-1)
        assert own == pytest.approx(np.full(own.shape, radius))
        others = np.linalg.norm(points[:, shell, :, None] - atoms.xyz, axis=-1)
        others[np.arange(len(atoms)), :, np.arange(len(atoms))] = np.inf
        assert (others.min(axis=-1)[valid[:, shell]] >= 0.9 * radius - 1e-9).all()
        chosen = np.where(valid[:, shell, :, None], points[:, shell], np.nan)[0]
        chosen = chosen[np.isfinite(chosen[:, 0])]
        assert len(np.unique(chosen.round(6), axis=0)) == len(chosen)


def test_fsc_of_a_map_with_itself_is_one():
    """The FSC is 1 for the same map under any isotropic filter, and near 0 for an unrelated one."""
    rng = np.random.default_rng(3)
    s = spatial_frequency(SHAPE, (1.0, 1.0, 1.0))
    a, b = (np.fft.rfftn(rng.standard_normal(SHAPE)) for _ in range(2))
    frequencies, curve = shell_correlation(a, a * np.exp(-20 * s**2), s, 1.0)
    assert curve[frequencies > 0.05] == pytest.approx(1, abs=0.01)
    assert resolution_at(frequencies, curve, 0.5) == pytest.approx(1 / frequencies[-1])
    assert np.abs(shell_correlation(a, b, s, 1.0)[1][frequencies > 0.2]).max() < 0.2


def test_the_resolution_is_where_a_curve_first_falls_below_the_threshold():
    """It is interpolated between shells; later rises and frequencies below 1/20 Å do not count; it may be an end of the curve."""
    frequencies = (np.arange(40) + 0.5) * 0.01
    falling = 1 - 2.4 * frequencies
    assert resolution_at(frequencies, falling, 0.5) == pytest.approx(2.4 / 0.5)
    assert resolution_at(frequencies, falling, 0.143) == pytest.approx(2.4 / 0.857)
    again = np.where(frequencies > 0.3, 1, falling)
    assert resolution_at(frequencies, again, 0.5) == pytest.approx(2.4 / 0.5)
    coarse = np.where(frequencies < 0.03, 0, falling)
    assert resolution_at(frequencies, coarse, 0.5) == pytest.approx(2.4 / 0.5)
    assert resolution_at(frequencies, np.ones(40), 0.5) == pytest.approx(1 / 0.395)
    assert resolution_at(frequencies, np.zeros(40), 0.5) == pytest.approx(1 / 0.055)


def test_fsc_finds_the_frequency_where_noise_begins():
    """If noise replaces everything finer than 5 Å, the FSC is 0.5 at 5 Å."""
    rng = np.random.default_rng(3)
    shape = (80, 80, 80)
    s = spatial_frequency(shape, (1.0, 1.0, 1.0))
    a, b = (np.fft.rfftn(rng.standard_normal(shape)) for _ in range(2))
    frequencies, curve = shell_correlation(a, np.where(s < 0.2, a, b), s, 1.0)
    assert resolution_at(frequencies, curve, 0.5) == pytest.approx(5, abs=0.25)


def test_fsc_of_a_shifted_map_falls_with_the_shift(reference):
    """A shift by t gives an FSC of sin(2πst)/(2πst), the mean of the phase shifts over a shell."""
    rng = np.random.default_rng(3)
    shape = (80, 80, 80)
    s = spatial_frequency(shape, (1.0, 1.0, 1.0))
    a = np.fft.rfftn(rng.standard_normal(shape))
    fx = np.fft.rfftfreq(80)[None, None]
    frequencies, curve = shell_correlation(a, a * np.exp(-2j * np.pi * 2 * fx), s, 1.0)
    fine = (frequencies > 0.05) & (frequencies < 0.45)
    assert curve[fine] == pytest.approx(np.sinc(2 * frequencies[fine] * 2), abs=0.1)


def test_soft_mask_has_its_stated_radius_and_edge():
    """It is 1 within 3 Å, 0.5 at 6 Å, and 0 from 9 Å on."""
    assert soft_mask(np.array([0.0, 3.0, 6.0, 9.0, np.inf])) == pytest.approx([1, 1, 0.5, 0, 0])


def test_model_map_lies_on_the_atoms(atoms):
    """The model's map peaks at the atoms, also in a box whose origin is not zero."""
    one = atoms.select(np.arange(len(atoms)) == 0)
    array = model_map(model_coefficients(one, grid()), grid(), 2.5)
    peak = np.unravel_index(array.argmax(), SHAPE)
    assert np.abs(np.array(peak)[::-1] + ORIGIN - one.xyz[0]).max() <= 0.5


def test_model_coefficients_fall_off_with_the_b_factor(atoms):
    """B-factors dampen the coefficients by exp(-B s²/4); the blur that a 1 Å grid needs has no effect."""
    s = spatial_frequency(SHAPE, (1.0, 1.0, 1.0))
    sharp = model_coefficients(atoms, grid())
    blurred = model_coefficients(Atoms(**{**atoms.__dict__, "b_iso": atoms.b_iso + 60}), grid())
    used = (s > 0.05) & (s < 0.35) & (np.abs(sharp) > 1)
    ratio = np.abs(blurred[used]) / np.abs(sharp[used])
    assert np.median(ratio / np.exp(-15 * s[used] ** 2)) == pytest.approx(1, abs=0.02)


def test_molecule_mask_is_the_molecule(atoms):
    """Atoms are inside, voxels 5 Å away are not."""
    inside = molecule_mask(atoms, grid())
    distance = distance_to_atoms(grid(), atoms.xyz, 20)
    assert inside[distance < 1].all()
    assert not inside[distance > 5].any()


def test_sample_reads_positions_in_angstrom():
    """The density at a voxel's position is the voxel's value; outside of the box it is zero."""
    array = np.zeros(SHAPE)
    array[4, 5, 6] = 2
    density = grid(array)
    points = np.array([[6 - 11.5, 5 + 3, 4 + 7.25], [6.5 - 11.5, 5 + 3, 4 + 7.25], [-100, 0, 0]])
    assert sample(density, points) == pytest.approx([2, 1, 0])


def test_cubes_lie_in_the_box_with_their_centre_on_the_model(atoms):
    """Cubes never leave the box, and their centre voxel is within 3 Å of the model."""
    distance = distance_to_atoms(grid(), atoms.xyz, 9)
    starts = cube_starts(distance)
    assert len(starts) > 5
    assert (starts >= 0).all() and (starts + 25 <= SHAPE).all()
    assert (distance[tuple((starts + 12).T)] <= 3).all()
    assert len(cube_starts(distance[:20])) == 0


def test_cube_correlations_against_numpy():
    """Plain and centred correlations agree with numpy's, with the map's negative density set to 0."""
    rng = np.random.default_rng(5)
    array, hr = rng.standard_normal((2, 30, 30, 30))
    starts = np.array([[0, 0, 0], [5, 3, 1]])
    plain, centred = cube_correlations(array, hr, starts)
    a, b = np.maximum(array, 0)[5:30, 3:28, 1:26].ravel(), hr[5:30, 3:28, 1:26].ravel()
    assert plain[1] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert centred[1] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, b) == pytest.approx(centred[1])
    assert pearson(a, np.ones_like(a)) == 0
