"""The bundle's package under the name `superem`, for use from a checkout.

The wheel installs `src/` as `chimerax.superem`; here the same files answer to `superem`, so that
`python -m superem` and the training scripts run without an install and without ChimeraX.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "src")]
