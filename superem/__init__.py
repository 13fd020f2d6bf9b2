"""The bundle's package under the name `superem`, for use from a checkout.

The wheel installs `src/` as `chimerax.superem`. Here the same files are importable as `superem`, so that `python -m superem`
and the training scripts run without an installation and without ChimeraX.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "src")]
