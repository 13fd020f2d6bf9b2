"""Cache of results that are slow to compute and depend only on their inputs, in files named by a digest of the inputs."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from superem.core.files import replaced


def digest(*parts: object) -> str:
    """Return a hexadecimal digest of arrays, bytes, and anything else with a faithful `repr`."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(repr((part.shape, part.dtype.str)).encode() + np.ascontiguousarray(part).tobytes())
        else:
            total.update(part if isinstance(part, bytes) else repr(part).encode())
        total.update(b"\0")
    return total.hexdigest()[:32]


def source(*modules: ModuleType | Path) -> bytes:
    """Return the syntax of modules, without comments, docstrings and line breaks, as a part of digests of their results."""
    return "\n".join(ast.dump(_silent(module)) for module in modules).encode()


def _silent(module: ModuleType | Path) -> ast.Module:
    """Return the syntax tree of a module, without its docstrings."""
    path = Path(str(module.__file__)) if isinstance(module, ModuleType) else module
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body.pop(0)
    return tree


class Cache:
    """A folder of arrays and of records (dicts of plain values)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def array(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array cached under `key`; make and cache it if there is none."""
        path = self.folder / f"{key}.npy"
        if not path.exists():
            array = make()
            with replaced(path) as part, open(part, "wb") as file:
                np.save(file, array)
        return np.load(path)

    def arrays(self, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the named arrays cached under `key`; make and cache them if there are none."""
        path = self.folder / f"{key}.npz"
        if not path.exists():
            arrays = make()
            with replaced(path) as part, open(part, "wb") as file:
                np.savez(file, **arrays)
        with np.load(path) as kept:
            return dict(kept)

    def record(self, key: str) -> dict | None:
        """Return the record cached under `key`, or None."""
        path = self.folder / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def keep(self, key: str, record: dict) -> None:
        """Cache a record under `key`."""
        with replaced(self.folder / f"{key}.json") as part:
            part.write_text(json.dumps(record))
