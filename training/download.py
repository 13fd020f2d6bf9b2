"""Resumable downloads of large .gz files; a file appears only once it is complete."""

from __future__ import annotations

import gzip
import os
import time
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

#: HTTP statuses of files that do not exist.
MISSING = (404, 410)
#: HTTP statuses of refused files; object stores also answer 403 for files that do not exist.
REFUSED = (403, 401, 451)


class FetchError(RuntimeError):
    """An entry cannot be fetched; the message is one clear sentence."""


class RefusedError(FetchError):
    """The archive refuses to deliver a file; it may or may not exist."""


class UnreachableError(FetchError):
    """The archive does not answer, so requesting further entries is pointless."""


def download(url: str, path: Path, attempts: int = 4, wait: float = 2.0) -> Path:
    """Download a .gz file to `path` unless it exists; each new attempt resumes where the last one stopped.

    Parameters
    ----------
    url, path
        Source and destination. The file appears only once it is complete, by its length and its own checksum; until then it has
        the suffix `.part`.
    attempts
        Maximum number of attempts; none follows if the archive answers that it lacks the file, or refuses it.
    wait
        Seconds before the second attempt, doubled before each further one.

    Raises
    ------
    FetchError
        If the archive does not have the file, refuses it, sends damaged data, or all attempts fail.
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
            else:  # a proxy's web page, or the entry was revised between two attempts
                part.unlink()
                reason = "what was received is not a complete .gz file"
        except urllib.error.HTTPError as error:
            if error.code in MISSING:
                raise FetchError(f"The archive has no file {url}; the entry may have been superseded.") from None
            if error.code in REFUSED:
                raise RefusedError(f"The archive refused {url} ({error.code}): the entry may have been superseded, or the archive"
                                   " or a proxy limits the number of requests; try again later, or name a mirror with"
                                   " --archive.") from None
            if error.code == 416:  # the partial file does not match the archive's file
                part.unlink()
            reason = f"the archive answered {error.code}"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise UnreachableError(f"{url} could not be downloaded in {attempts} attempts: {reason}.")


def _whole(path: Path) -> bool:
    """Return whether a .gz file can be read to its end, where its checksum is."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return True
