"""What maps are called, and which of them are super-resolved ones, of which others."""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .provenance import ESTIMATE

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
_RESULT = re.compile(rf"{SUFFIX}(_({'|'.join((*TELLING, 'subregion', 'step'))})_.+)?$")


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
    if hasattr(volume, _MARK) or _says_result(volume.name):
        return True
    header = getattr(volume.data, "file_header", None)  # of an MRC file, where ChimeraX has read it from one
    labels = header.get("labels", ()) if isinstance(header, dict) else ()
    return any(text.startswith(ESTIMATE.encode()) for text in labels)


def newest_pair(session: Any) -> tuple[Any, Any] | None:
    """Return the map that was opened last of the results whose input is open, too, after that; None if there is none."""
    from chimerax.map import Volume

    maps = session.models.list(type=Volume)
    for result in reversed(maps):
        source = _source(result, maps)
        if source is not None:
            return source, result
    return None


def _source(result: Any, maps: Sequence[Any]) -> Any:
    """Return which of the maps a result was made of, as it is marked or, brought back by a session file, named."""
    source = getattr(result, _MARK, lambda: None)()
    if source in maps:
        return source
    named = re.fullmatch(rf"(.+) {SUFFIX}( \(.+\))?", result.name)
    return next((v for v in reversed(maps) if named and v.name == named[1]), None)


def _says_result(name: str) -> bool:
    plain = file_name(name)
    return bool(_RESULT.search(plain)) and not plain.endswith(EXPECTED_Q.replace(" ", "_"))
