"""Downloads of large files that may break off: whole in the end, or not there."""

from __future__ import annotations

import gzip
import os
import time
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

#: Answers that a file does not exist.
MISSING = (404, 410)
#: Answers that a file is not to be had; stores of objects give the first of them for files that do not exist, too.
REFUSED = (403, 401, 451)


class FetchError(RuntimeError):
    """One entry could not be had; the message is one clear sentence."""


class RefusedError(FetchError):
    """The archive will not give this file; whether it has it is not said."""


class UnreachableError(FetchError):
    """The archive does not answer: there is no point in asking for the next entry."""


def download(url: str, path: Path, attempts: int = 4, wait: float = 2.0) -> Path:
    """Download a .gz file to `path` unless it is there; each new attempt goes on where the last one stopped.

    Parameters
    ----------
    url, path
        From where, to where. The file appears only when it is whole, by its length and its own checksum; until then it is
        named `.part`.
    attempts
        How often to try; an answer that the file does not exist, or is not to be had, ends the tries.
    wait
        Seconds before the second attempt, twice as many before each further one.

    Raises
    ------
    FetchError
        If the archive has no such file, or refuses it, or what it sends is damaged, or all attempts failed.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(attempts):
        if attempt:
            time.sleep(wait * 2 ** (attempt - 1))
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                goes_on = answer.status == 206
                length = answer.headers.get("Content-Length")
                expected = int(length) + (have if goes_on else 0) if length else None
                with open(part, "ab" if goes_on else "wb") as out:
                    while block := answer.read(1 << 20):
                        out.write(block)
            if expected is not None and part.stat().st_size != expected:
                reason = "the transfer was cut off"
            elif _whole(part):
                os.replace(part, path)
                return path
            else:  # a page of a proxy, or the entry was revised between two sittings
                part.unlink()
                reason = "what arrives is no whole .gz file"
        except urllib.error.HTTPError as error:
            if error.code in MISSING:
                raise FetchError(f"The archive has no file {url}; the entry may have been superseded.") from None
            if error.code in REFUSED:
                raise RefusedError(f"The archive refused {url} ({error.code}): the entry may have been superseded, or the archive"
                                   " or a proxy on the way to it does not want so many requests; try again later, or name a"
                                   " mirror with --archive.") from None
            if error.code == 416:  # what is there is not the beginning of what the archive has
                part.unlink()
            reason = f"the archive answered {error.code}"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise UnreachableError(f"{url} could not be downloaded in {attempts} attempts: {reason}.")


def _whole(path: Path) -> bool:
    """Whether a .gz file can be read to its end, where its checksum is."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return True
