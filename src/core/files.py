"""Atomic writing: a file is complete, or does not appear."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .density import MapError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; once written, that file replaces `path`, or is removed after an error.

    If `path` is a link, the file it points to is replaced. The replaced file's permissions are kept.

    Raises
    ------
    MapError
        If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")  # shortened, since file systems limit the length of names
    try:
        yield part
        with suppress(FileNotFoundError):  # `path` may be a new file
            shutil.copymode(target, part)
        os.replace(part, target)
    except OSError as error:
        raise MapError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):  # it was renamed, or never created
            part.unlink()
