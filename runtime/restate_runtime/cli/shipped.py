"""Whether the shipped modules `dev.restate.*` can be found from where the user stands."""

from __future__ import annotations

import os
import sys

from ..errors import RuntimeFault

__all__ = ["hidden_modules", "shown_path", "use_working_directory"]


def use_working_directory() -> None:
    """Puts the working directory first on `sys.path`."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)


def hidden_modules() -> RuntimeFault | None:
    """The fault where a regular package of the user's hides the shipped modules; it names the file.

    Anywhere on the path it comes before the namespace package that holds them.
    """
    for entry in sys.path:
        for package in ("dev", os.path.join("dev", "restate")):
            marker = os.path.join(entry, package, "__init__.py")
            if os.path.isfile(marker):
                return RuntimeFault(
                    "RT0105", f"{shown_path(marker)} hides the shipped modules dev.restate.*: remove it, or rename its package"
                )
    return None


def shown_path(path: str) -> str:
    """Relative to the working directory where it lies below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
