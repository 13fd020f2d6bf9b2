"""A small software renderer of contour surfaces, without a window or a graphics library.

It draws an orthographic view along -z, with a depth buffer, smooth shading, darkened creases, silhouette lines and four samples
per pixel. The triangles are ChimeraX's, so the picture shows ChimeraX's own contours.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

SAMPLES = 2  # per pixel edge
KEY_LIGHT = np.array([-0.45, 0.55, 0.70])
FILL_LIGHT = np.array([0.70, 0.10, 0.50])


@dataclass(frozen=True)
class Surface:
    """Vertices (n, 3) in Å, unit normals (n, 3), triangles (m, 3) and an RGB colour from 0 to 1."""

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    color: tuple[float, float, float]

    def turned(self, rotation: np.ndarray, center: np.ndarray) -> "Surface":
        """Return the surface relative to `center`, rotated by a (3, 3) matrix."""
        return Surface((self.vertices - center) @ rotation.T, self.normals @ rotation.T, self.triangles, self.color)


def draw(surface: Surface, half_width: float, size: int, depth: tuple[float, float]) -> Image.Image:
    """Draw what lies within `half_width` Å of the origin in x and y, as a square picture of `size` pixels.

    Parameters
    ----------
    surface : Surface
        In view coordinates: x to the right, y up, z towards the viewer.
    depth : (near, far)
        Only parts between these z, in Å, are drawn; distant parts fade to white.
    """
    pixels = size * SAMPLES
    scale = pixels / (2 * half_width)
    z, normals = _rasterise(surface, scale, pixels, depth)
    hit = np.isfinite(z)
    image = np.ones((pixels, pixels, 3))
    shade = _shade(normals, np.where(hit, z, depth[1]), hit, scale)
    fade = np.clip((depth[0] - z) / (depth[0] - depth[1]), 0, 1)[..., None] * 0.45
    lit = np.clip(np.array(surface.color) * shade[..., :1] + shade[..., 1:], 0, 1)
    image[hit] = (lit * (1 - fade) + fade)[hit]
    whole = Image.fromarray((255 * image).astype(np.uint8))
    return whole.resize((size, size), Image.Resampling.LANCZOS)


def _rasterise(surface: Surface, scale: float, pixels: int, depth: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (pixels, pixels) in Å, -inf where empty, and normals (pixels, pixels, 3)."""
    near, far = depth
    zbuffer = np.full(pixels * pixels, -np.inf, np.float32)
    nbuffer = np.zeros((pixels * pixels, 3), np.float32)
    corners = surface.vertices.astype(np.float32)[surface.triangles]  # (m, 3 corners, xyz)
    corner_normals = surface.normals.astype(np.float32)[surface.triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1) * scale
    steps = np.clip(np.ceil(edges), 1, 256).astype(int)  # so that points are less than a sample apart
    for n in np.unique(steps):
        a, b = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        inside = a + b <= n
        a, b = a[inside] / n, b[inside] / n
        weights = np.stack([a, b, 1 - a - b], axis=1).astype(np.float32)  # (points, 3 corners)
        chosen = np.flatnonzero(steps == n)
        for part in np.array_split(chosen, max(1, len(chosen) * len(weights) // 500_000)):
            points = (weights @ corners[part]).reshape(-1, 3)
            normals = (weights @ corner_normals[part]).reshape(-1, 3)
            column = np.floor(points[:, 0] * scale + pixels / 2).astype(int)
            row = np.floor(pixels / 2 - points[:, 1] * scale).astype(int)
            z = points[:, 2]
            seen = (column >= 0) & (column < pixels) & (row >= 0) & (row < pixels) & (z <= near) & (z >= far)
            index, z = (row * pixels + column)[seen], z[seen]
            np.maximum.at(zbuffer, index, z)
            front = z >= zbuffer[index]
            nbuffer[index[front]] = normals[seen][front]
    return zbuffer.reshape(pixels, pixels), nbuffer.reshape(pixels, pixels, 3)


def _shade(normals: np.ndarray, z: np.ndarray, hit: np.ndarray, scale: float) -> np.ndarray:
    """Return diffuse and specular light, (h, w, 2), of each sample."""
    unit = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    unit = np.where(unit[..., 2:] < 0, -unit, unit)  # the inside of a cut surface is lit like its outside
    key, fill = KEY_LIGHT / np.linalg.norm(KEY_LIGHT), FILL_LIGHT / np.linalg.norm(FILL_LIGHT)
    light = 0.38 + 0.55 * np.clip(unit @ key, 0, 1) + 0.22 * np.clip(unit @ fill, 0, 1)
    half = key + (0, 0, 1)
    shine = 0.22 * np.clip(unit @ (half / np.linalg.norm(half)), 0, 1) ** 40
    # Creases: parts deeper than their surroundings get less light, as from ambient light (radii of 2 and 6 Å).
    for radius, strength in ((2.0, 0.35), (6.0, 0.30)):
        sunk = np.clip((gaussian_filter(z, radius * scale / 2, truncate=2) - z) / radius, 0, 1.2)
        light *= 1 - strength * np.minimum(sunk, 1)
    # Silhouettes: jumps in depth of over 3 Å.
    jump = maximum_filter(z, 3) - minimum_filter(z, 3)
    light *= np.where((jump > 3) & hit, 0.45, 1)
    return np.stack([light, shine], axis=2)
