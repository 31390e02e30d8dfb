"""The contracts in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["contracts"]


def contracts(folder: Path) -> Iterator[Path]:
    """The .proto files in a folder and those below it, without what is in folders with other people's: hidden ones, environments."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_others(place, name))
        for name in sorted(files):
            if name.endswith(".proto") and not name.startswith("."):
                yield Path(place, name)


def _is_others(place: str, name: str) -> bool:
    return name.startswith(".") or name == "node_modules" or os.path.isfile(os.path.join(place, name, "pyvenv.cfg"))
