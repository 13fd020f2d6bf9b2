"""Measure how well a map agrees with its atomic model, by metrics established in the field.

`Reference` holds everything that depends on the model alone; `evaluate_map` measures one map against it. `Reference.cached`
and `evaluate_map_cached` do the same with a cache. Nothing here needs cctbx: `mtriage` runs it as a separate process, if it is
installed.
"""

from .atoms import Atoms, read_atoms
from .reference import Reference, evaluate_map, evaluate_map_cached

__all__ = ["Atoms", "Reference", "evaluate_map", "evaluate_map_cached", "read_atoms"]
