"""Files that the command line writes: checked before the work, and kept elsewhere if they cannot be written after it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .core.density import MapError
from .core.files import replaced


def _folder(path: Path) -> Path:
    """Return the folder that holds the file at `path`, with links resolved."""
    return Path(os.path.realpath(path)).parent


def require_writable(path: Path) -> None:
    """Raise MapError if no file can be written at `path`."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is a folder" if path.is_dir() else "it is no file")
        if path.exists() and not os.access(path, os.W_OK):  # it could be replaced, but is protected for a reason
            raise OSError(0, "it is write-protected")
        with tempfile.TemporaryFile(dir=_folder(path)):
            pass
    except OSError as error:
        raise MapError(f"{path} cannot be written ({error.strerror or error}).") from error


def require_space(paths: Sequence[Path], size: int) -> None:
    """Raise MapError if a disk has no room for maps of `size` bytes at `paths`; not every quota is visible."""
    for path in paths:
        folder = _folder(path)
        disk, device = shutil.disk_usage(folder), folder.stat().st_dev
        need = size * sum(_folder(other).stat().st_dev == device for other in paths)
        if 0 < disk.total and disk.free < need:  # some network file systems report no sizes
            raise MapError(f"{path} cannot be written: {need / 1e6:,.0f} MB are needed, but {disk.free / 1e6:,.0f} MB are free "
                           f"in {folder}; free some space, or choose another folder.")


def written(path: Path, write: Callable[[Path], None]) -> Path | None:
    """Write a result to `path`, or elsewhere if that fails; report a failure on standard error.

    Returns the path of the file, or None if the result is lost.
    """
    try:
        write(path)
        return path
    except MapError as error:
        reason = str(error).rstrip(".")
    for folder in (os.curdir, None):  # None: the system's folder for temporary files
        try:
            kept = Path(tempfile.mkdtemp(prefix="superem-kept-", dir=folder)).absolute()
        except OSError:
            continue
        try:
            write(kept / path.name)
        except MapError:
            kept.rmdir()
            continue
        except BaseException:  # Ctrl-C as well leaves no empty folder
            kept.rmdir()
            raise
        print(f"superem: {reason}; it is kept as {kept / path.name}.", file=sys.stderr)
        return kept / path.name
    print(f"superem: {reason}, and it could not be kept anywhere else.", file=sys.stderr)
    return None


def write_json(path: Path, content: dict, overwrite: bool) -> None:
    """Write a report; an existing file is replaced only with `overwrite`."""
    with replaced(path, overwrite) as part:  # escapes what UTF-8 cannot encode in a file name
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")
