"""What a kill -9 would leave at each crash point of a run: the files of the runtime and of the outside world, and what the client knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Recorder", "Snapshot"]

_WAL = "restate.sqlite3-wal"
# SQLite builds the index of the log anew where nobody has it open; the lock dies with its owner.
_LEFT_OUT = ("restate.sqlite3-shm", "lock")
_HEADER = 32


@dataclass(frozen=True)
class Snapshot:
    """One crash point.

    Attributes:
        number: counted from 1.
        kind: the point's name.
        acknowledged: what the client had been told, by idempotency key.
    """

    number: int
    kind: str
    acknowledged: Mapping[str, str]
    _data: Mapping[str, bytes]
    _log: bytearray
    _log_length: int
    _outside: Mapping[str, bytes]

    def restore(self, data_dir: Path, outside: Path) -> None:
        """Writes the files as they were."""
        data_dir.mkdir(mode=0o700)
        outside.mkdir()
        for name, content in self._data.items():
            (data_dir / name).write_bytes(content)
        if self._log_length:
            (data_dir / _WAL).write_bytes(memoryview(self._log)[: self._log_length])
        for name, content in self._outside.items():
            (outside / name).write_bytes(content)


class Recorder:
    """A probe that takes a snapshot at every point.

    SQLite's log only grows between two checkpoints, so all points between them share one copy of it.

    Args:
        answers: what the client has been told, filled as it goes.
    """

    def __init__(self, data_dir: Path, outside: Path, answers: Mapping[str, str]) -> None:
        self.snapshots: list[Snapshot] = []
        self._data_dir = data_dir
        self._outside_dir = outside
        self._answers = answers
        self._log = bytearray()
        self._seen: dict[bytes, bytes] = {}

    def __call__(self, kind: str) -> None:
        """Takes a snapshot."""
        data = {path.name: self._once(path) for path in self._data_dir.iterdir() if path.name not in (*_LEFT_OUT, _WAL)}
        outside = {path.name: self._once(path) for path in self._outside_dir.iterdir()}
        log_length = self._read_log()
        self.snapshots.append(Snapshot(len(self.snapshots) + 1, kind, dict(self._answers), data, self._log, log_length, outside))

    def _once(self, path: Path) -> bytes:
        """The file's content, of which equal copies are kept once."""
        content = path.read_bytes()
        return self._seen.setdefault(content, content)

    def _read_log(self) -> int:
        path = self._data_dir / _WAL
        if not path.exists():
            return 0
        with path.open("rb") as file:
            if file.read(_HEADER) != self._log[:_HEADER]:
                self._log = bytearray()  # a checkpoint lies between
            file.seek(len(self._log))
            self._log += file.read()
        return len(self._log)

    def check_log(self) -> None:
        """The shared copy is what the file holds."""
        self._read_log()
        path = self._data_dir / _WAL
        assert (path.read_bytes() if path.exists() else b"") == self._log
