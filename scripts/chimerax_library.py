"""Start a real ChimeraX session, without its window, from the PyPI package `ChimeraX` (core 1.7.1).

The package is the application's own library. It was yanked from the index only because `import chimerax` imports every bundle
at once. `start_session()` boots it as the application does (`chimerax/core/__main__.py`): same Session, toolshed, map bundle
and commands. Two things that the package lacks are replaced: `chimerax.core.nogui` (here: a UI that queues work for the main
thread, as the application's event loop does), and the registration of the library's own commands, which have no bundle
metadata in the package.

To test with a later version, overlay its Python modules on the package's: `src/bundles/NAME/src` of its source on
`chimerax/NAME`, except for atomic, atomic_lib, pdb, pdb_lib and mmcif, which need their own compiled parts. Also recompile
`surface/_surface`, generate `core/commands/_atomspec.py` from its .peg with grako and `core/buildinfo.py` from its template,
and install psutil. In this way, the session starts and tests/chimerax passes with 1.8, 1.9, 1.11 and the development version
1.12 of January 2026.
"""

import atexit
import builtins
import collections
import collections.abc
import gzip
import os
import queue
import shutil
import site
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any


def start_session() -> Any:
    """Start the one ChimeraX session of this process; `session.log.lines` holds what it has logged."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    home = Path(tempfile.mkdtemp(prefix="superem-chimerax-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _prepare_imports()
    import chimerax

    _name_folders(chimerax, home)
    from chimerax.core import attributes, core_settings, tools, toolshed, undo
    from chimerax.core.session import Session

    session = Session("ChimeraX")
    sys.excepthook = sys.__excepthook__
    if not hasattr(session, "ui"):  # from 1.11 on, the application sets it
        session.ui = UI(session)
    session.scratch = home
    session.log = _recorder()
    session.logger.add_log(session.log)
    core_settings.init(session)
    attributes.RegAttrManager(session)
    toolshed.init(session.logger, check_available=False, session=session)
    session.toolshed = toolshed.get_toolshed()
    session.tools = tools.Tools(session, first=True)
    session.undo = undo.Undo(session, first=True)
    _register_library(session)
    session.toolshed.bootstrap_bundles(session, safe_mode=False)
    _describe_library(session.toolshed)
    session.toolshed.triggers.add_handler(
        toolshed.TOOLSHED_BUNDLE_INFO_RELOADED, lambda _name, shed: _describe_library(shed))
    return session


def draw_frame(session: Any) -> None:
    """Update the drawings, as the application does whenever it is idle."""
    session.main_view.check_for_drawing_change()


def open_map(session: Any, path: str | Path) -> Any:
    """Open a map file, gzipped or not, as `open` does; return its Volume."""
    from chimerax.map import open_map as open_models

    path = Path(path)
    if path.suffix == ".gz":
        plain = Path(tempfile.mkdtemp(dir=session.scratch), path.stem)
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path = plain
    models, _message = open_models(session, str(path))
    session.models.add(models)
    return models[0]


def _recorder() -> Any:
    from chimerax.core.logger import PlainTextLog

    class Recorder(PlainTextLog):
        """Record the log: `lines` holds (level name, text), `statuses` the texts of the status line."""

        def __init__(self) -> None:
            self.lines: list[tuple[str, str]] = []
            self.statuses: list[str] = []

        def log(self, level: int, msg: str) -> bool:
            self.lines.append((self.LEVEL_DESCRIPTS[level], msg.strip()))
            return True

        def status(self, msg: str, color: Any, secondary: bool) -> bool:
            self.statuses.append(msg)
            return True

        def text(self, level: str = "") -> str:
            """Return all lines of a level ("note", "warning", "error", "bug"), or of all levels."""
            return "\n".join(text for name, text in self.lines if level in ("", name))

    return Recorder()


def _prepare_imports() -> None:
    # grako, which parses atom specifiers, still uses collections.Mapping.
    for name in ("Mapping", "MutableMapping", "Sequence", "MutableSequence", "Iterable", "Callable"):
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    builtins.line_profile = lambda function: function  # type: ignore[attr-defined]
    if "chimerax" not in sys.modules:
        places = [Path(p) / "chimerax" for p in sys.path if (Path(p) / "chimerax").is_dir()]
        if not any((place / "core").is_dir() for place in places):
            raise ImportError("The PyPI package ChimeraX is not installed; run `make test`, which installs it.")
        package = types.ModuleType("chimerax")
        package.__path__ = [str(place) for place in places]
        sys.modules["chimerax"] = package
    nogui = types.ModuleType("chimerax.core.nogui")
    nogui.escape = str  # type: ignore[attr-defined]  # used by `usage` in 1.11
    nogui.UI = UI  # type: ignore[attr-defined]
    sys.modules["chimerax.core.nogui"] = nogui


def _describe_library(shed: Any) -> None:
    """Give the library's own bundles the metadata that the package lacks and that session files refer to."""
    from chimerax.core.toolshed.info import BundleInfo

    for package, name in (("core", "Core"), ("map", "Map"), ("graphics", "Graphics"), ("geometry", "Geometry"),
                          ("std_commands", "StdCommands"), ("surface", "Surface")):
        path = ("chimerax", package)
        if path not in shed._installed_packages:
            info = BundleInfo(f"ChimeraX-{name}", True, version="1.7.1", api_package_name=".".join(path), packages=[path])
            shed._installed_bundle_info.append(info)
            shed._installed_packages[path] = info


def _register_library(session: Any) -> None:
    from chimerax import surface
    from chimerax.core.commands import toolshed as toolshed_commands
    from chimerax.map import volumecommand
    from chimerax.map_filter import vopcommand
    from chimerax.std_commands import close, move, turn, usage, view
    from chimerax.surface import colorcmds

    surface.bundle_api.initialize(session, None)
    volumecommand.register_volume_command(session.logger)
    vopcommand.register_volume_filtering_subcommands(session.logger)
    for module in (close, move, turn, usage, view, toolshed_commands):
        module.register_command(session.logger)
    colorcmds.register_color_subcommand("color sample", session.logger)


def _name_user_site(base: Path) -> None:
    """Make a scratch folder the user site, where bundles are installed; the application has its own `site.USER_SITE` too."""
    folder = base / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (folder / "chimerax").mkdir(parents=True)
    site.USER_BASE, site.USER_SITE, site.ENABLE_USER_SITE = str(base), str(folder), True
    sys.modules["chimerax"].__path__.append(str(folder / "chimerax"))


def _name_folders(chimerax: Any, home: Path) -> None:
    import appdirs

    folders = appdirs.AppDirs("ChimeraX", appauthor="UCSF", version="1.7")
    _name_user_site(home / "user_data_dir")
    root = next(Path(p) for p in chimerax.__path__ if (Path(p) / "core").is_dir())
    names = ("user_data_dir", "user_config_dir", "user_cache_dir", "user_log_dir", "user_state_dir")
    made = {name: str(home / name) for name in names}
    for folder in made.values():
        os.makedirs(folder, exist_ok=True)
    chimerax.app_dirs = types.SimpleNamespace(
        appname="ChimeraX", appauthor="UCSF", version="1.7", site_data_dir=folders.site_data_dir,
        site_config_dir=folders.site_config_dir, **made)
    chimerax.app_dirs_unversioned = chimerax.app_dirs
    chimerax.app_bin_dir = str(root / "bin")
    chimerax.app_data_dir = str(root / "share")
    chimerax.app_lib_dir = str(root / "core" / "lib")


class UI:
    """Replacement of `chimerax.core.nogui.UI`: no window; runs functions from other threads on the main one."""

    is_gui = False

    def __init__(self, session: Any) -> None:
        self.has_graphics = False
        self.session = session
        self.calls: queue.Queue = queue.Queue()

    def thread_safe(self, function: Any, *args: Any, **keywords: Any) -> None:
        """Queue a function, which the main thread calls in `run_until`."""
        self.calls.put((function, args, keywords))

    def run_until(self, condition: Any, timeout: float = 60) -> bool:
        """Draw frames and run queued functions until `condition()` is true, or for `timeout` seconds; return whether it is."""
        end = time.monotonic() + timeout
        while not condition() and time.monotonic() < end:
            draw_frame(self.session)
            try:
                function, args, keywords = self.calls.get(timeout=0.02)
            except queue.Empty:
                continue
            function(*args, **keywords)
        return bool(condition())
