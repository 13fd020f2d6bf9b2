"""How every command ends where a file is missing or cannot be read: with one sentence in place of a traceback."""

from __future__ import annotations

from collections.abc import Callable

from superem.core.density import MapError
from superem.nets.store import WeightsError


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
