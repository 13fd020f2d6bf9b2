"""Simulator, trainer and evaluation of SuperEM's networks; not shipped in the bundle."""
