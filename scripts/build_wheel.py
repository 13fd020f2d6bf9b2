"""Build the bundle's wheel with ChimeraX's own bundle builder: `python scripts/build_wheel.py [folder]`.

The builder comes from the PyPI package. It expects the wheel's name in mixed case, which ChimeraX 1.7 and 1.8 need to find an
installed bundle, but setuptools from 76 on writes it in lower case. So `make` installs setuptools 75 into
`.venv/wheel-tools`, for this program only.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.prefix) / "wheel-tools"


def build(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`, in a separate process; return its path."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    done = subprocess.run([sys.executable, __file__, str(folder), "--here"], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"The wheel was not built:\n{done.stdout}")
    return Path(done.stdout.splitlines()[-1])


def _build_here(folder: Path) -> Path:
    from chimerax_library import start_session

    logger = start_session().logger
    from chimerax.bundle_builder import BundleBuilder

    # Build from a copy, so that leftovers of earlier builds or of an editor cannot get into the wheel.
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(ROOT / "src", Path(scratch, "src"), ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("bundle_info.xml", "LICENSE"):
            shutil.copy(ROOT / name, scratch)
        builder = BundleBuilder.from_path(logger, scratch)
        builder.make_wheel()
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(builder.wheel_path, folder))


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist").resolve()
    print(_build_here(target) if "--here" in sys.argv else build(target))
