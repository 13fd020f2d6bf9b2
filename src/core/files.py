"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .density import MapError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; the file gets the name `path` when it is whole, and is removed if it never is.

    A link stays one: the file that it leads to is replaced, and who may read and write it stays as it was.

    Raises
    ------
    MapError
        If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")  # no longer than a file's name may be
    try:
        yield part
        with suppress(FileNotFoundError):  # there may have been none
            shutil.copymode(target, part)
        os.replace(part, target)
    except OSError as error:
        raise MapError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):  # it has its name, or never came to be
            part.unlink()
