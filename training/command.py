"""What commands share: where they find what others of them made, and how they end where a file cannot be had or read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from superem.core.density import MapError
from superem.nets.store import WeightsError

#: The lists of what was trained on.
IDS = Path(__file__).with_name("ids")
#: Where the evaluation keeps what is slow to make, what it writes, and where structures are kept once they are read.
CACHE, EVALUATION, STRUCTURES = Path("build/evaluation"), Path("build/evaluation.json"), Path("build/structures.npz")
#: Where pairs are put by those who make them, and looked for by those who train.
POOL = Path("runs/pool")

#: Options of every command that measures maps.
MEASURING = argparse.ArgumentParser(add_help=False)
MEASURING.add_argument("--data", type=Path, required=True, help="folder with pairs.csv and a folder a pair")
MEASURING.add_argument("--cache", type=Path, default=CACHE, help=f"folder for what can be reused ({CACHE})")


def as_command(main: Callable[[], None]) -> None:
    """Run a command; what its user can mend is said, and ends it.

    Raises
    ------
    SystemExit
        If a file is missing, or is not what it is taken for.
    """
    try:
        main()
    except FileNotFoundError as error:
        raise SystemExit(f"There is no file {error.filename}." if error.filename else str(error)) from None
    except (MapError, WeightsError) as error:
        raise SystemExit(str(error)) from None
