"""Names of maps; recognition of super-resolved maps, their inputs and expected-Q maps."""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .provenance import ESTIMATE_LABEL, EXPECTED_Q_LABEL

SUFFIX = "superem"
#: Name of an expected-Q map, after that of its result.
EXPECTED_Q = "expected Q"
#: Suffixes of files that hold one map.
FILE_SUFFIXES = (".mrc", ".map", ".ccp4")
#: Settings that change the map; a result's name lists in brackets those not at their defaults, and the region.
MAP_SETTINGS = ("model", "tiling", "rotations", "grid", "resolution")
#: Longest text of a map in a menu, in characters.
MENU_WIDTH = 44
_MARK = "superem_source"
#: Marks a result's file name; text after it gives settings, or shows that the map is a copy or filtered.
_RESULT = re.compile(rf"_{SUFFIX}(_|$)")
_EXPECTED_Q = re.compile(rf"_{EXPECTED_Q.replace(' ', '_')}(_|$)")


def label(volume: Any) -> str:
    """Return a map's name and number, which distinguish it from other maps of the same name."""
    return f"{volume.name} #{volume.id_string}"


def short_label(volume: Any) -> str:
    """Return a map's name and number, shortened in the middle for a menu, which is as wide as its longest text."""
    text = label(volume)
    return text if len(text) <= MENU_WIDTH else f"{text[:MENU_WIDTH // 2]}…{text[1 - MENU_WIDTH // 2:]}"


def part_words(step: Any, subregion: Any) -> list[str]:
    """Return the words, as in the command, for the requested part of a map; none for the whole map."""
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
    """Return `words` in brackets, to be appended to a name; an empty string if there are none."""
    return f" ({', '.join(words)})" if words else ""


def result_name(source: Any, words: Sequence[str] = ()) -> str:
    """Return the name of a result of the map `source`; `words` list what differs from the default settings."""
    name, details = source.name, bracketed(words)
    if not says_result(name):
        name += f" {SUFFIX}"
    return name if name.endswith(details) else name + details


def file_name(name: str) -> str:
    """Return a map's name for use in a file name: without map suffixes, and with underscores for unsafe characters."""
    stem = re.sub(rf"({'|'.join(map(re.escape, FILE_SUFFIXES))})(\.gz)?\b", "", name)
    return re.sub(r"[^\w.+-]+", "_", stem).rstrip("_") or "map"


def mark(result: Any, source: Any) -> None:
    """Mark a Volume as a result of the Volume `source`; the mark survives renaming, for instance when the map is saved."""
    setattr(result, _MARK, weakref.ref(source))


def says_result(name: str, labels: Sequence[str] = ()) -> bool:
    """Return whether a map is super-resolved, by its name or that of its file, or by the labels in its file's header."""
    return _original(name) is not None or ESTIMATE_LABEL in labels


def says_expected_q(name: str, labels: Sequence[str] = ()) -> bool:
    """Return whether a map holds expected Q-scores instead of density, by its name or its labels, as `says_result`."""
    return bool(_EXPECTED_Q.search(file_name(name))) or EXPECTED_Q_LABEL in labels


def is_result(volume: Any) -> bool:
    """Return whether a Volume is super-resolved: made in this session, or identified by its name or file header.

    Name and header alone do not suffice: ChimeraX renames a saved map after its file, into which it does not write our
    label.
    """
    return hasattr(volume, _MARK) or says_result(volume.name, _labels(volume))


def is_expected_q(volume: Any) -> bool:
    """Return whether a Volume holds expected Q-scores instead of density, by its name or file header."""
    return says_expected_q(volume.name, _labels(volume))


def newest_pair(session: Any) -> tuple[Any, Any] | None:
    """Return (input, result) for the newest result whose input is open, too; None if there is none.

    The newest is the last in ChimeraX's list of models: the one most recently opened or renumbered.
    """
    from chimerax.map import Volume

    maps = session.models.list(type=Volume)
    for result in reversed(maps):
        source = _source(result, maps)
        if source is not None:
            return source, result
    return None


def _source(result: Any, maps: Sequence[Any]) -> Any:
    """Return which of `maps` a result was made from, or None: by its mark or, after a session file was restored, by its name.

    Names are compared in their file-name form, because a saved result takes the name of its file. After a session was
    restored, a result of a result is paired with the original map, from which both take their names.
    """
    source = getattr(result, _MARK, lambda: None)()
    if source in maps:
        return source
    original = _original(result.name)
    return next((v for v in reversed(maps) if file_name(v.name) == original), None)


def _original(name: str) -> str | None:
    """Return the file-name form of the name of a result's input, as contained in the result's name; None if it is no result."""
    plain = file_name(name)
    found = None if _EXPECTED_Q.search(plain) else _RESULT.search(plain)
    return plain[:found.start()] if found else None


def _labels(volume: Any) -> list[str]:
    """Return the labels in the header of a Volume's file; none if ChimeraX did not read it from an MRC file."""
    header = getattr(volume.data, "file_header", None)
    labels = header.get("labels", ()) if isinstance(header, dict) else ()
    return [text.decode("latin-1").rstrip("\0 ") for text in labels]
