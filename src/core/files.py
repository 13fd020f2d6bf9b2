"""Atomic writing: a file is complete, or does not appear."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .density import MapError


@contextmanager
def replaced(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; once written, that file replaces `path`, or is removed after an error.

    If `path` is a link, the file it points to is replaced. The replaced file's permissions are kept. Without `overwrite`,
    a file that exists by then is not replaced.

    Raises
    ------
    MapError
        If the file cannot be written.
    """
    try:
        target = Path(os.path.realpath(path))
        part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")  # file systems limit the length of names
        try:
            yield part
            if overwrite:
                with suppress(FileNotFoundError):  # `path` may be a new file
                    shutil.copymode(target, part)
                os.replace(part, target)
            else:
                _rename_to_new(part, target)
        finally:
            with suppress(OSError):  # it was renamed, or never created
                part.unlink()
    except OSError as error:
        raise MapError(f"{path} cannot be written ({error.strerror or error}).") from error
    except MemoryError as error:
        raise MapError(f"{path} cannot be written (memory is short).") from error


def _rename_to_new(part: Path, target: Path) -> None:
    """Rename a file; raise FileExistsError if `target` exists, even if another program creates it at this moment."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file reserves the name
        target.open("xb").close()
        try:
            os.replace(part, target)
        except BaseException:  # a signal, too
            target.unlink()
            raise
