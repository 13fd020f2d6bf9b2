"""Provenance of an output map: version, weights, settings, and a caution about what it is not."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from .core.predict import Report

CAUTION = "A model's estimate, not a measurement: build with it, refine and validate against the original map."
#: First header line of a super-resolved map, at most 80 characters.
ESTIMATE_LABEL = "SuperEM: a model's estimate, not a measurement. Refine against the original map."
#: First header line of an expected-Q map, at most 80 characters.
EXPECTED_Q_LABEL = "SuperEM: Q-score expected of a right model at each voxel; an estimate, no proof."


def version() -> str:
    """Return the bundle's version: that of the installed wheel, or of the checkout."""
    try:
        return metadata.version("ChimeraX-SuperEM")
    except metadata.PackageNotFoundError:
        info = Path(__file__).resolve().parent.parent / "bundle_info.xml"
        found = re.search(r'<BundleInfo[^>]*?\sversion="([^"]+)"', info.read_text("utf-8")) if info.exists() else None
        return found[1] if found else "unknown"


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def labels(report: Report, source: str) -> list[str]:
    """Return the header lines of an output map made from the map named `source`; `write_mrc` cuts them at 80 characters."""
    return [
        ESTIMATE_LABEL,
        f"SuperEM {version()}, model {report.model}, weights sha256 {report.weights_sha256[:16]}",
        f"SuperEM input: {source}",
    ]


def record(report: Report, **more: Any) -> dict[str, Any]:
    """Return all that is known about a run, for a JSON file; `more` adds entries."""
    return {"program": "SuperEM", "version": version(), "caution": CAUTION, **asdict(report), **more}
