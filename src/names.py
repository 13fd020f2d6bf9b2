"""What maps are called, and which of them are super-resolved ones, of which others."""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .provenance import ESTIMATE_LABEL, EXPECTED_Q_LABEL

SUFFIX = "superem"
#: What the map of the Q-score to expect is called, after the result that it belongs to.
EXPECTED_Q = "expected Q"
#: Of the files that hold one map.
FILE_SUFFIXES = (".mrc", ".map", ".ccp4")
#: Settings that change the map; where they are not the default ones the result's name has them in brackets, and its part.
TELLING = ("model", "tiling", "rotations", "grid", "resolution")
#: Characters.
MENU_WIDTH = 44
_MARK = "superem_source"
#: In the name of a result's file; what follows tells its settings, or that it is a copy or filtered.
_RESULT = re.compile(rf"_{SUFFIX}(_|$)")
_EXPECTED_Q = re.compile(rf"_{EXPECTED_Q.replace(' ', '_')}(_|$)")


def label(volume: Any) -> str:
    """Return a map's name and number, by which the user tells it from others of that name."""
    return f"{volume.name} #{volume.id_string}"


def short_label(volume: Any) -> str:
    """Return a map's name and number, without its middle where it is long, for a menu: that is as wide as its text."""
    text = label(volume)
    return text if len(text) <= MENU_WIDTH else f"{text[:MENU_WIDTH // 2]}…{text[1 - MENU_WIDTH // 2:]}"


def part_words(step: Any, subregion: Any) -> list[str]:
    """Return what tells a part of a map from the whole, as it was asked for."""
    words = []
    if not isinstance(subregion, str):
        words.append(f"subregion {','.join(str(i) for corner in subregion for i in corner)}")
    elif subregion != "all":
        words.append(f"subregion {subregion}")
    steps = np.broadcast_to(step, 3)
    if steps.max() > 1:
        words.append(f"step {','.join(map(str, steps)) if np.ptp(steps) else steps[0]}")
    return words


def bracketed(words: Sequence[str]) -> str:
    """Return words as they follow a name."""
    return f" ({', '.join(words)})" if words else ""


def result_name(source: Any, words: Sequence[str] = ()) -> str:
    """Return the name of a result of the map `source`; `words` say what was not as it is by default."""
    name, details = source.name, bracketed(words)
    if not _says_result(name):
        name += f" {SUFFIX}"
    return name if name.endswith(details) else name + details


def file_name(name: str) -> str:
    """Return the name of a map without what makes it that of a file, and without signs that some systems do not take."""
    stem = re.sub(rf"({'|'.join(map(re.escape, FILE_SUFFIXES))})(\.gz)?\b", "", name)
    return re.sub(r"[^\w.+-]+", "_", stem).rstrip("_") or "map"


def mark(result: Any, source: Any) -> None:
    """Make a Volume known as a result of the Volume `source`, whatever it is called later, as when it is saved."""
    setattr(result, _MARK, weakref.ref(source))


def is_result(volume: Any) -> bool:
    """Whether a map is a super-resolved one: made in this session, or said to be one by its name or the header of its file.

    Its name may be any: ChimeraX gives a map that is saved that of the file. Into the header it writes nothing of it.
    """
    return hasattr(volume, _MARK) or _says_result(volume.name) or _is_labelled(volume, ESTIMATE_LABEL)


def is_expected_q(volume: Any) -> bool:
    """Whether a map is one of the Q-score to expect, no density, by its name or the header of its file."""
    return bool(_EXPECTED_Q.search(file_name(volume.name))) or _is_labelled(volume, EXPECTED_Q_LABEL)


def newest_pair(session: Any) -> tuple[Any, Any] | None:
    """Return the newest of the results whose input is open, too, after that; None if there is none.

    Newest is the one that ChimeraX lists last: one that was opened, or given another number, last.
    """
    from chimerax.map import Volume

    maps = session.models.list(type=Volume)
    for result in reversed(maps):
        source = _source(result, maps)
        if source is not None:
            return source, result
    return None


def _source(result: Any, maps: Sequence[Any]) -> Any:
    """Return which of the maps a result was made of, as it is marked or, brought back by a session file, named.

    Names are compared as those of files are written, since a result that is saved gets that of its file. After a session a
    result of a result is paired with the original, after which both are named.
    """
    source = getattr(result, _MARK, lambda: None)()
    if source in maps:
        return source
    original = _original(result.name)
    return next((v for v in reversed(maps) if original is not None and file_name(v.name) == original), None)


def _says_result(name: str) -> bool:
    return _original(name) is not None


def _original(name: str) -> str | None:
    """Return the name, as a file's, of the map after which a result of this name is called; None if it is no result's."""
    plain = file_name(name)
    found = None if _EXPECTED_Q.search(plain) else _RESULT.search(plain)
    return plain[:found.start()] if found else None


def _is_labelled(volume: Any, words: str) -> bool:
    header = getattr(volume.data, "file_header", None)  # of an MRC file, where ChimeraX has read it from one
    labels = header.get("labels", ()) if isinstance(header, dict) else ()
    return any(text.startswith(words.encode()) for text in labels)
