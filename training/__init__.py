"""Simulator, trainer and evaluation of SuperEM's networks; not shipped in the bundle."""

import os

# must be set before numpy is imported; the arrays are small, so more threads would only slow numpy down
os.environ.setdefault("OMP_NUM_THREADS", "1")
