"""Demonstrate `superem` on a deposited map, in the real ChimeraX without its window, with a picture of the result.

`make demo` runs this. It installs the wheel of this checkout into a scratch ChimeraX, opens the map in `demo/data` and runs
`superem #1`. It writes to `demo-output/` the super-resolved map (MRC), a picture of both maps at levels that enclose the same
volume, and the table that it prints.
"""

import argparse
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from render import Surface, draw

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from build_wheel import build  # noqa: E402
from chimerax_library import open_map, start_session  # noqa: E402

MAP = ROOT / "demo" / "data" / "emd_1461_vp6.mrc.gz"
TITLE = "Rotavirus VP6, EMD-1461, 3.8 Å"
#: Volume of VP6, Å³: 397 residues of 110 Da on average, 1.21 Å³ per dalton.
MOLECULE = 397 * 110 * 1.21
OUTPUT = ROOT / "demo-output"
GREY, BLUE = (0.66, 0.68, 0.72), (0.36, 0.60, 0.84)
PANEL = 640  # pixels
#: View: the trimer axis is nearly vertical, and the close-up shows the helices of the lower domain.
TURN = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
CLOSE = (0.0, -14.0, 4.0)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a weights file, or the name of a bundled model, to use instead of the default")
    model = parser.parse_args().model
    OUTPUT.mkdir(exist_ok=True)
    session = start_session()
    from chimerax.core.commands import run
    from chimerax.map_data import save_grid_data

    run(session, f"toolshed install {build(OUTPUT / 'wheel')} noDeps true")
    before = open_map(session, MAP)
    run(session, f"volume #1 encloseVolume {MOLECULE:.0f}")
    began = time.monotonic()
    after = run(session, "superem #1" + (f" model {model}" if model else ""))
    seconds = time.monotonic() - began
    for line in session.log.text("note").splitlines():
        if line.startswith((after.name, "Level", "A model")):
            print(line)
    save_grid_data(after.data, str(OUTPUT / "emd_1461_superem.mrc"), session)
    print("\n" + table(before, after, seconds))
    picture(before, after).quantize(200).save(OUTPUT / "superem.png", optimize=True)
    print(f"\nWritten to {OUTPUT}: emd_1461_superem.mrc, superem.png")


def table(before: Any, after: Any, seconds: float) -> str:
    """Return both maps' figures side by side, as plain text; also written to demo-output/table.txt."""
    values, level = both_at_voxels_of(before, after)
    rows = [
        ("", "original", "super-resolved"),
        ("size (voxels)", *("x".join(str(n) for n in v.data.size) for v in (before, after))),
        ("voxel (Å)", *(f"{v.data.step[0]:.3f}" for v in (before, after))),
        ("contour level", *(f"{v.surfaces[0].level:.4g}" for v in (before, after))),
        ("enclosed volume (Å³)", *(f"{enclosed(v):,.0f}" for v in (before, after))),
        ("correlation of both", "", f"{np.corrcoef(values)[0, 1]:.3f}"),
        ("... inside the contour", "", f"{np.corrcoef(values[:, values[0] > level])[0, 1]:.3f}"),
        ("time (s)", "", f"{seconds:.1f}"),
    ]
    text = "\n".join(f"{name:<24}{left:>16}{right:>18}" for name, left, right in rows)
    (OUTPUT / "table.txt").write_text(text + "\n")
    return text


def both_at_voxels_of(before: Any, after: Any) -> tuple[np.ndarray, float]:
    """Return the densities (2, n) of both maps at the voxels of the first, and the first one's contour level."""
    from chimerax.geometry import Place

    points = before.grid_points(before.scene_position)
    return np.stack([v.interpolated_values(points, Place()) for v in (before, after)]), before.surfaces[0].level


def enclosed(volume: Any) -> float:
    """Return the volume in Å³ inside the surface that ChimeraX shows."""
    from chimerax.surface import surface_volume_and_area

    volume.update_drawings()
    return surface_volume_and_area(volume.surfaces[0])[0]


def picture(before: Any, after: Any) -> Image.Image:
    """Draw both maps, whole and close up, from one viewpoint."""
    shown = [Surface(s.vertices, s.normals, s.triangles, color)
             for s, color in ((before.surfaces[0], GREY), (after.surfaces[0], BLUE))]
    low, high = shown[0].vertices.min(axis=0), shown[0].vertices.max(axis=0)
    center, half = (low + high) / 2, float((high - low).max()) / 2 * 1.04
    captions = (f"{TITLE}\nas deposited, level {before.surfaces[0].level:.3g}",
                f"after superem, level {after.surfaces[0].level:.3g}\nthe same enclosed volume, {enclosed(after):,.0f} Å³")
    canvas = Image.new("RGB", (2 * PANEL, 2 * PANEL + 90), "white")
    # Pillow's own font has no Å; a font that comes with matplotlib has.
    font = ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), 22)
    for column, (surface, caption) in enumerate(zip(shown, captions, strict=True)):
        ImageDraw.Draw(canvas).multiline_text((column * PANEL + 20, 14), caption, fill="black", font=font, spacing=8)
        whole = surface.turned(TURN, center)
        canvas.paste(draw(whole, half, PANEL, (half, -half)), (column * PANEL, 90))
        close = surface.turned(TURN, center + np.array(CLOSE) @ TURN)
        canvas.paste(draw(close, 19, PANEL, (8, -10)), (column * PANEL, 90 + PANEL))
    return canvas


if __name__ == "__main__":
    main()
