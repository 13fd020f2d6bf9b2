"""The bundle's interface to ChimeraX: its commands, its tool and the classes that session files hold."""

from __future__ import annotations

from typing import Any

from chimerax.core.toolshed import BundleAPI
from chimerax.core.triggerset import DEREGISTER

TOOL_NAME = "SuperEM"


class _SuperEMBundle(BundleAPI):
    api_version = 1

    @staticmethod
    def initialize(session: Any, bi: Any) -> None:
        """Watch for restored sessions, so that expected-Q maps follow their results even while the panel is closed."""

        def restored(*_: Any) -> str | None:
            try:
                from .expected_q import watch_if_any
            except ModuleNotFoundError:  # the bundle has been uninstalled meanwhile; ChimeraX does not notify it
                return DEREGISTER
            watch_if_any(session)
            return None

        session.triggers.add_handler("end restore session", restored)

    @staticmethod
    def register_command(bi: Any, ci: Any, logger: Any) -> None:
        """Register a command when the user first types it."""
        from . import cmd

        cmd.register(ci.name, logger)

    @staticmethod
    def start_tool(session: Any, bi: Any, ti: Any) -> Any:
        """Open the panel, or bring the open one to the front."""
        if ti.name != TOOL_NAME:
            raise ValueError(f"SuperEM has no tool named {ti.name!r}.")
        from .tool import SuperEMTool

        return SuperEMTool.get_singleton(session)

    @staticmethod
    def run_provider(session: Any, name: str, mgr: Any, **keywords: Any) -> None:
        """Open the panel from its toolbar button."""
        if name != TOOL_NAME:
            raise ValueError(f"SuperEM has no toolbar button named {name!r}.")
        from chimerax.core.commands import run

        run(session, f"ui tool show {TOOL_NAME}")

    @staticmethod
    def get_class(class_name: str) -> type:
        """Return the class that a session file names."""
        if class_name == "SuperEMTool":
            from .tool import SuperEMTool

            return SuperEMTool
        raise ValueError(f"SuperEM has no class named {class_name!r}.")


bundle_api = _SuperEMBundle()
