"""Made-up maps for the tests."""

import numpy as np

from chimerax_library import draw_frame

#: Name of the result for a map named "blobs" with the network of the fixture `weights`.
RESULT = "blobs superem (model identity)"


def blobs(shape=(40, 36, 44), step=(1.2, 1.2, 1.2), seed=0) -> np.ndarray:
    """Return density (zyx) of some Gaussian blobs of 2 to 3 Å, well inside the box and smooth enough to be resampled."""
    random = np.random.default_rng(seed)
    nz, ny, nx = shape
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, step[::-1], strict=True)), indexing="ij")
    size = np.array([nx, ny, nz]) * step
    array = np.zeros(shape, np.float32)
    for _ in range(25):
        cx, cy, cz = size * (0.25 + 0.5 * random.random(3))
        width = 2 + random.random()
        array += np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width**2)).astype(np.float32)
    return array


def add_map(session, array=None, name="blobs", **grid):
    """Open an array as a Volume, with the keywords of ArrayGridData."""
    from chimerax.map import volume_from_grid_data
    from chimerax.map_data import ArrayGridData

    data = ArrayGridData(blobs() if array is None else array, step=grid.pop("step", (1.2, 1.2, 1.2)), name=name, **grid)
    volume = volume_from_grid_data(data, session)
    draw_frame(session)  # core 1.7 fails if two maps wait for their first frame
    return volume
