"""What the commands share: default paths, common options, and how they end on bad input."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from superem.core.density import MapError
from superem.nets.store import WeightsError

#: Folder of the lists of training data.
IDS = Path(__file__).with_name("ids")
#: Default paths: the evaluation's cache, its output, and the cache of structures.
CACHE, EVALUATION, STRUCTURES = Path("build/evaluation"), Path("build/evaluation.json"), Path("build/structures.npz")
#: Default folder of the pairs that `training.pool` writes and `training.train` reads.
POOL = Path("runs/pool")

#: Options shared by all commands that measure maps.
MEASURING = argparse.ArgumentParser(add_help=False)
MEASURING.add_argument("--data", type=Path, required=True, help="folder with pairs.csv and one folder per pair")
MEASURING.add_argument("--cache", type=Path, default=CACHE, help=f"folder for what can be reused ({CACHE})")


def as_command(main: Callable[[], None]) -> None:
    """Run a command; end it with a one-sentence message, not a traceback, for errors that the user can fix.

    Raises
    ------
    SystemExit
        If a file is missing, or is not a valid map or weights file.
    """
    try:
        main()
    except FileNotFoundError as error:
        raise SystemExit(f"There is no file {error.filename}." if error.filename else str(error)) from None
    except (MapError, WeightsError) as error:
        raise SystemExit(str(error)) from None
