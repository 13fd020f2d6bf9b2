"""Panel choices that ChimeraX keeps from one start to the next."""

from __future__ import annotations

from typing import Any

from chimerax.core.settings import Settings

from .bundle import TOOL_NAME
from .panel.choices import DEFAULT


class PanelSettings(Settings):
    """The choices of the last run, and whether the advanced part was open."""

    AUTO_SAVE = {**DEFAULT.state(), "advanced": False}


def panel_settings(session: Any) -> PanelSettings:
    """Return the panel settings of this session, creating them on first use."""
    if not hasattr(session, "superem_settings"):
        session.superem_settings = PanelSettings(session, TOOL_NAME)
    return session.superem_settings
