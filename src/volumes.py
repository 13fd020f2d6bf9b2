"""Conversion of a ChimeraX Volume to a DensityMap and back, with matched contour levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .core.density import DensityMap, MapError
from .core.levels import level_for_surface, level_for_volume
from .names import bracketed, label, mark, part_words, result_name

#: Å around a part of a map that the network sees too: a cut through density spoils its output far into the part.
CONTEXT = 20.0
#: Relative change of a voxel size, or rotation of an axis in radians, that does not count: more than `check_kind` lets pass.
SAME_AXES = 3e-4
#: Colours for a new map: it gets the one that differs more from its input's.
COLORS = ((0.33, 0.60, 0.85, 1.0), (0.93, 0.69, 0.25, 1.0))


def density_of(volume: Any, step: Any = 1, subregion: Any = "all") -> DensityMap:
    """Read a Volume, or a part of it, as a DensityMap in the Volume's own coordinates.

    Parameters
    ----------
    volume : chimerax.map.Volume
    step, subregion
        As in ChimeraX's map commands: every step-th voxel; "all", "shown", or ((i, j, k), (i, j, k)).

    Raises
    ------
    MapError
        If the Volume is closed, is not one map on a rectangular grid, or has no voxels in the subregion.
    """
    check_kind(volume)
    # Samples lie on multiples of the step, so the first sample read can lie inside the requested region;
    # Volume.region_origin_and_step() gives the corner of the region, not that sample.
    region = volume.subregion(step, subregion)
    first, _, ijk_step = volume.step_aligned_region(region)
    matrix = volume.region_matrix(region)
    data, name = volume.data, label(volume) + bracketed(part_words(step, subregion))
    if not matrix.size or min(region[1]) < 0:  # before the map, where ChimeraX reads its first voxels
        size = " x ".join(map(str, data.size))
        raise MapError(f"{name} has no voxels: the map has {size}, which are counted from zero.")
    return DensityMap(
        np.array(matrix, np.float32),
        origin=_three(data.ijk_to_xyz(first)),
        step=_three(np.multiply(data.step, ijk_step)),
        rotation=np.array(data.rotation, float),
        name=name,
    )


def shift_since(volume: Any, density: DensityMap, step: Any, subregion: Any) -> np.ndarray | None:
    """Return how far (xyz, Å) a Volume's origin has moved since `density_of` read it; None if its voxel size or axes changed."""
    ends = np.vstack([np.zeros(3), np.diag(density.shape[::-1])])  # of the grid's axes
    moved = volume.matrix_indices_to_xyz_transform(step, subregion) * ends - density.positions(ends)
    longest = max(np.multiply(density.step, density.shape[::-1]))
    return moved[0] if np.allclose(moved, moved[0], rtol=0, atol=SAME_AXES * longest) else None


def region_with_context(volume: Any, step: Any, subregion: Any) -> Any:
    """Return the corners (ijk, ijk) of a part of a Volume extended by `CONTEXT`, inside the Volume; for `density_of`."""
    first, last, _step = volume.subregion(step, subregion)
    around = np.ceil(np.divide(CONTEXT, volume.data.step)).astype(int)
    low, high = np.maximum(np.subtract(first, around), 0), np.minimum(np.add(last, around), np.subtract(volume.data.size, 1))
    return tuple(int(i) for i in low), tuple(int(i) for i in high)


def check_kind(volume: Any) -> None:
    """Raise an error unless a Volume is one map on a rectangular grid.

    Raises
    ------
    MapError
        If the Volume is closed, a part of a multi-channel or time-series image, or has a skewed cell.
    """
    if volume.deleted:
        raise MapError("The map has been closed.")
    name, data = label(volume), volume.data
    advice = f"superem needs a single cryo-EM map; 'volume copy #{volume.id_string}' makes one from it."
    if getattr(volume, "series", None) is not None or data.time is not None:
        raise MapError(f"{name} is one map of a series; {advice}")
    if data.channel is not None or volume.other_channels():
        raise MapError(f"{name} is one channel of a multi-channel or color image; {advice}")
    if any(abs(angle - 90) > 0.01 for angle in data.cell_angles):
        angles = ", ".join(f"{angle:.4g}" for angle in data.cell_angles)
        raise MapError(f"{name} has a skewed unit cell (angles {angles}°); resample it onto a rectangular grid first.")


def volume_of(session: Any, density: DensityMap, source: Any, model_id: Any = None, words: Sequence[str] = ()) -> Any:
    """Open `density` as a new Volume with the position, style and settings of `source`, in another colour.

    `words` list, for its name, what differs from the default settings.
    """
    name = result_name(source, words)
    volume = new_volume(session, density, source, name, _other_color(source), model_id=model_id, style=_style(source))
    mark(volume, source)
    volume.copy_settings_from(
        source, copy_region=False, copy_colors=False, copy_thresholds=False, copy_style=False, copy_xform=False)
    return volume


def new_volume(session: Any, density: DensityMap, place: Any, name: str, color: Sequence[float], **options: Any) -> Any:
    """Return a Volume of `density` placed like the Volume `place`."""
    from chimerax.map import volume_from_grid_data
    from chimerax.map_data import ArrayGridData

    data = place.data
    grid = ArrayGridData(
        density.array, density.origin, density.step, data.cell_angles, density.rotation, symmetries=data.symmetries, name=name)
    grid.rgba = color
    volume = volume_from_grid_data(grid, session, **options)
    volume.scene_position = place.scene_position  # `place` may be part of a group that has been moved
    return volume


def match_levels(volume: Any, source: Any, density: DensityMap) -> list[tuple[float, float, float, float]]:
    """Set the contour levels of `volume` to enclose the same volumes as those of `source`, and show it in the same style.

    The thresholds of an image are matched by the fraction of voxels above them.

    Parameters
    ----------
    volume, source : chimerax.map.Volume
        The new map and its input, shown or not, as surface or image.
    density : DensityMap
        The part of `source` from which `volume` was made.

    Returns
    -------
    list of (level of source, level of volume, and the volumes in Å³ that they enclose: in `density`, and in `volume`)
    """
    new = density_of(volume)
    as_image = _style(source) == "image"
    if as_image:
        levels = source.image_levels or source.initial_image_levels()[0]
        pairs = [(level, _level_by_rank(density, new, level), weight) for level, weight in levels]
        volume.set_parameters(image_levels=[(new_level, weight) for _, new_level, weight in pairs])
        # The last threshold of an image gives full brightness; density begins to stand out at the one before it.
        return [(old, level, contoured_volume(density, old), contoured_volume(new, level)) for old, level, _ in pairs[-2:-1]]
    levels = [s.level for s in source.surfaces] or source.initial_surface_levels()[0]
    wanted = [contoured_volume(density, level) for level in levels]
    found = [level_enclosing(new, each) for each in wanted]
    volume.set_parameters(surface_levels=[level for level, _ in found])
    volume.set_display_style(_style(source))  # again: setting the levels makes new surfaces, which are not meshes
    return [(old, level, before, after) for old, before, (level, after) in zip(levels, wanted, found, strict=True)]


def contoured_volume(density: DensityMap, level: float) -> float:
    """Return the volume (Å³) inside ChimeraX's own contour surface, closed at the faces of the box."""
    from chimerax import surface
    from chimerax.map._map import contour_surface

    vertices, triangles = contour_surface(density.array, level, cap_faces=True, calculate_normals=False)
    if len(triangles) == 0:
        return 0.0
    voxels, _holes = surface.enclosed_volume(vertices, triangles)
    return float(voxels or 0.0) * density.voxel_volume


def level_enclosing(
    density: DensityMap, volume: float, start: float | None = None, tolerance: float = 1e-3,
) -> tuple[float, float]:
    """Return the level whose contour surface encloses `volume` Å³ and the volume found, as `core.levels.level_for_surface`."""
    return level_for_surface(
        density.array, volume, density.step, lambda level: contoured_volume(density, level), start, tolerance)


def _level_by_rank(old: DensityMap, new: DensityMap, level: float) -> float:
    """Return the level of `new` above which the same fraction of the box lies as above `level` in `old`."""
    fraction = np.count_nonzero(old.array >= level) / old.array.size
    return level_for_volume(new.array, fraction * new.array.size * new.voxel_volume, new.step)


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _style(volume: Any) -> str:
    if volume.showing_image():
        return "image"
    return "mesh" if volume.has_mesh else "surface"


def _other_color(volume: Any) -> Sequence[float]:
    colors = [s.rgba for s in volume.surfaces] or [volume.default_rgba]
    return max(COLORS, key=lambda color: float(np.linalg.norm(np.subtract(color[:3], colors[0][:3]))))
