"""Two maps side by side on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chimerax.core.commands import run
from chimerax.geometry import translation

if TYPE_CHECKING:
    from .compare import Pair


class SideBySide:
    """Keeps `after` beside `before` on the screen however the camera turns, so that both seem to turn alike.

    With `tile` alone, the mouse would turn each model about its own centre: all open models, and the colour key, would
    come out of register. Here only `after` moves.

    Parameters
    ----------
    pair : Pair
        Two maps that are side by side.
    about : str
        Centre of rotation to set afterwards, as an argument of `cofr`.
    """

    def __init__(self, pair: Pair, about: str = "frontCenter") -> None:
        self.pair, self._about, self._session = pair, about, pair.session  # kept, since a closed map has no session
        self._offset: Any = None  # from `before` to `after`, Å, along the camera's axes
        self._place: Any = None  # position of `after`, as last set here
        self._home: Any = None  # last position of `before` while it was open
        self._handler = self._session.triggers.add_handler("new frame", self._follow)

    def end(self) -> None:
        """Put both maps in one place again, if they are still open, and reset the centre of rotation."""
        self._handler.remove()
        off = f"tile off {self.pair.spec}; " if self.pair.usable else ""
        after = self.pair.after
        if not off and self._home is not None and not after.deleted:  # or it would stay apart from models fitted into `before`
            after.scene_position = self._home
        run(self._session, f"{off}cofr {self._about}")

    def _follow(self, *_: Any) -> None:
        if not self.pair.usable:
            return
        before, after = self.pair.maps
        camera = self._session.main_view.camera.position
        if self._place is None or not after.scene_position.same(self._place, 0.01, 0.01):  # first frame, or moved by the user
            between = after.scene_position * before.scene_position.inverse()
            self._offset = camera.inverse().transform_vector(between.translation())
        self._home = before.scene_position
        self._place = translation(camera.transform_vector(self._offset)) * self._home
        if not after.scene_position.same(self._place, 0.001, 0.001):
            after.scene_position = self._place


def center_of_rotation(view: Any) -> str:
    """Return a view's centre of rotation as an argument of `cofr`."""
    methods = {"front center": "frontCenter", "center of view": "centerOfView"}
    return methods.get(view.center_of_rotation_method) or ",".join(f"{x:.6g}" for x in view.center_of_rotation)
