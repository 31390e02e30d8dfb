"""The flight recorder: which invocations' code is executing right now, readable after a crash of the process.

A handler or side effect that takes the process down (a segmentation fault, an out-of-memory kill) must not do so for ever. Only the
code that was executing is suspect, not all that waited, so the ids are kept in a memory-mapped file: writing costs no system call, and
the kernel keeps the page when the process dies. It need not survive a power cut.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

__all__ = ["FlightRecorder"]

_SLOT = 17  # one byte "in use", sixteen of the id
_SLOTS = 4096


class FlightRecorder:
    """A fixed number of slots; more than that executing at once are not recorded.

    Attributes:
        before: ids that were executing when the process before ended.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            content = os.pread(fd, _SLOT * _SLOTS, 0)
            # Written, not only made longer: a page of a mapped file for which there is no room ends the process.
            os.pwrite(fd, bytes(_SLOT * _SLOTS), 0)
            self._map = mmap.mmap(fd, _SLOT * _SLOTS)
        except OSError as error:
            error.filename = str(path)
            raise
        finally:
            os.close(fd)
        self.before = frozenset(content[start + 1 : start + _SLOT] for start in range(0, len(content), _SLOT) if content[start])
        self._free = list(range(_SLOTS - 1, -1, -1))

    def enter(self, invocation_id: bytes) -> int:
        """Its code runs from now on; returns what `leave` takes, -1 where there was no room."""
        if not self._free:
            return -1
        slot = self._free.pop()
        start = slot * _SLOT
        self._map[start : start + _SLOT] = b"\1" + invocation_id
        return slot

    def leave(self, slot: int) -> None:
        """It waits, or is over."""
        if slot >= 0 and not self._map.closed:  # a side effect that nobody waits for may outlive its runtime by a moment
            self._map[slot * _SLOT] = 0
            self._free.append(slot)

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()
