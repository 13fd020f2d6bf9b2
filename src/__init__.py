"""SuperEM: super-resolved cryo-EM maps from 3D deep networks.

Importing this package imports nothing else, so that `python -m chimerax.superem` works on a cluster where ChimeraX is
not installed. ChimeraX asks for `bundle_api`; only then is its side of the bundle loaded.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "bundle_api":
        from .bundle import bundle_api

        return bundle_api
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
