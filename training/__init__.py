"""Simulator, trainer and evaluation of SuperEM's networks; not shipped in the bundle."""

import os

# before numpy is loaded: arrays are small, and several threads for each only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
