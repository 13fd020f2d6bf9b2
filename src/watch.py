"""Notice of changes to maps, while a job or the panel works with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class MapWatch:
    """Calls a function at every change of the maps that are watched.

    Parameters
    ----------
    changed : callable
        ``changed(volume, change)``, with ChimeraX's word for the change, such as "region changed".
    """

    def __init__(self, changed: Callable[[Any, str], None]) -> None:
        self._changed = changed
        self._maps: tuple[Any, ...] = ()
        self._ended = False

    def set(self, *maps: Any) -> None:
        """Watch `maps`, of which some may be None, instead of those that were watched."""
        wanted = () if self._ended else tuple(each for each in maps if each is not None)
        if wanted == self._maps:
            return
        for volume in self._maps:
            if not volume.deleted:
                volume.remove_volume_change_callback(self._changed)
        self._maps = wanted
        for volume in wanted:
            volume.add_volume_change_callback(self._changed)

    def forget(self) -> None:
        """Watch nothing from now on, whatever is set: a panel's menus may report a change until it is gone."""
        self._ended = True
        self.set()
