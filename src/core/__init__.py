"""The numerical core: it uses numpy, scipy and torch, never ChimeraX."""
