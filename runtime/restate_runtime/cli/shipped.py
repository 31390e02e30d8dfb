"""Whether the shipped modules `dev.restate.*` can be found from where the user stands."""

from __future__ import annotations

import os
import sys

from ..errors import RuntimeFault

__all__ = ["hidden_modules", "missing_extra", "shown_path", "use_working_directory"]

_DISTRIBUTIONS = {"restate": "restate-sdk"}  # where the module has another name
_HIDING = tuple(map(os.path.normpath, ("dev/__init__.py", "dev.py", "dev/restate/__init__.py", "dev/restate.py")))


def use_working_directory() -> None:
    """Puts the working directory first on `sys.path`."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)


def hidden_modules() -> RuntimeFault | None:
    """The fault where a regular package or a module of the user's hides the shipped modules; it names the file.

    Anywhere on the path it comes before the namespace package that holds them, unless it extends its own path.
    """
    for entry in sys.path:
        for name in _HIDING:
            file = os.path.join(entry, name)
            if os.path.isfile(file) and not _extends_its_path(file):
                return RuntimeFault(
                    "RT0105", f"{shown_path(file)} hides the shipped modules dev.restate.*: remove it, or give it another name"
                )
    return None


def missing_extra(what: str, error: ModuleNotFoundError, extra: str) -> RuntimeFault:
    """The fault where a library is missing that the bare install leaves out.

    Args:
        what: needs it.
        error: of the import.
        extra: that brings the library along.
    """
    module = (error.name or "").partition(".")[0]
    return RuntimeFault("RT0008", f"{what} needs {_DISTRIBUTIONS.get(module, module)}: pip install 'protoc-gen-restate[{extra}]'")


def _extends_its_path(file: str) -> bool:
    with open(file, encoding="utf-8", errors="replace") as text:
        return "extend_path" in text.read()


def shown_path(path: str) -> str:
    """Relative to the working directory where it lies below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
