"""The high-water mark: the number of the last durable commit, kept outside SQLite's write-ahead log.

SQLite drops every commit after a damaged frame of the log without a word. The mark tells: a database that holds less than the mark
has lost acknowledged data. It is written after each commit and not synced, so it may lag behind after a power cut, never lead.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import google_crc32c

from ...errors import RuntimeFault

__all__ = ["HighWaterMark", "read_mark"]

_RECORD = struct.Struct("<QQI")


def _pack(batch: int, epoch: int) -> bytes:
    body = struct.pack("<QQ", batch, epoch)
    return body + struct.pack("<I", google_crc32c.value(body))


def read_mark(path: Path) -> int | None:
    """The newest mark; `None` where the file is missing.

    Raises:
        RuntimeFault: RT0203, neither of the two records can be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    found: list[int] = []
    for start in (0, _RECORD.size):
        record = content[start : start + _RECORD.size]
        if len(record) == _RECORD.size:
            batch, epoch, _ = _RECORD.unpack(record)
            if _pack(batch, epoch) == record:
                found.append(batch)
    if not found:
        raise RuntimeFault("RT0203", f"the high-water mark {path} is damaged")
    return max(found)


class HighWaterMark:
    """Writes two records in turn, so that a torn write leaves the other."""

    def __init__(self, path: Path, epoch: int, batch: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._epoch = epoch
        # Both records: whoever accepted a loss does not find the old mark at the next start.
        os.pwrite(self._fd, _pack(batch, epoch) * 2, 0)

    def write(self, batch: int) -> None:
        """This commit is durable."""
        os.pwrite(self._fd, _pack(batch, self._epoch), (batch % 2) * _RECORD.size)

    def close(self) -> None:
        """Syncs and closes the file."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
