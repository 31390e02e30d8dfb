"""`generate --watch`: again whenever a contract or a template changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .folders import contracts

__all__ = ["watch"]

_INTERVAL_S = 0.5

Seen = dict[Path, tuple[int, int]]


def watch(once: Callable[[], int], places: Iterable[Path], templates: Path | None = None, *, interval_s: float = _INTERVAL_S) -> int:
    """Runs `once` now and after every change of a .proto file in these places, or of a template in that folder, until it is interrupted.

    The files are looked at in turn, which works on every file system; a contract is saved more rarely than that.
    """
    watched = list(dict.fromkeys(places))
    try:
        while True:
            seen, used = _look(watched), _templates(templates)
            if once() == 0:
                print(f"generated; watching {len(seen)} contracts", file=sys.stderr, flush=True)
            while (_look(watched), _templates(templates)) == (seen, used):
                time.sleep(interval_s)
    except KeyboardInterrupt:
        return 0


def _look(places: Iterable[Path]) -> Seen:
    """When each contract was changed, and its size."""
    seen: Seen = {}
    for place in places:
        if place.is_file():
            _note(place, seen)
        for file in contracts(place):
            _note(file, seen)
    return seen


def _templates(folder: Path | None) -> Seen:
    """The same of each template."""
    seen: Seen = {}
    for file in folder.glob("*.j2") if folder is not None else ():
        _note(file, seen)
    return seen


def _note(file: Path, seen: Seen) -> None:
    try:
        status = file.stat()
    except OSError:  # it went away in between
        return
    seen[file] = (status.st_mtime_ns, status.st_size)
