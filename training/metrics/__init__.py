"""How well a map agrees with its atomic model, measured in the ways that the field trusts.

`Reference` holds everything that depends on the model alone; `evaluate_map` measures one map against it.
`Reference.kept` and `measured` do the same and keep what they made.
Nothing here needs cctbx: `mtriage` runs it, where it is installed, as a separate process.
"""

from .atoms import Atoms, read_atoms
from .reference import Reference, evaluate_map, measured

__all__ = ["Atoms", "Reference", "evaluate_map", "measured", "read_atoms"]
