"""The numerical core: numpy, scipy and torch, never ChimeraX."""
