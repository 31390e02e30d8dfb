"""The data directory: who owns it, and where its files are.

The owner holds `flock` on a file of its own. SQLite's locks do not do: they are lost as soon as anything in the process opens and
closes the database file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from ...errors import RuntimeFault

__all__ = ["DataDirectory"]


class DataDirectory:
    """A directory that this process owns until `release`.

    Args:
        path: made, with mode 0700, where it is missing, unless by a reader.
        reader: nothing is to be changed: there has to be a database, and the lock file is left as it was found.

    Raises:
        RuntimeFault: RT0006 on a platform without file locks, RT0201 where another process owns it, RT0202 where it cannot be used.
    """

    def __init__(self, path: Path, *, reader: bool = False) -> None:
        if sys.platform not in ("linux", "darwin"):
            raise RuntimeFault("RT0006", f"the runtime does not run on {sys.platform}; it runs on Linux and macOS")
        self.path = path.absolute()
        self.database = self.path / "restate.sqlite3"
        self.highwater = self.path / "highwater"
        self.flight = self.path / "flight"
        self.made = not reader and not self.path.exists()
        self._found: tuple[bytes, tuple[int, int]] | None = None
        try:
            if not reader:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.is_dir():
                what = "is not a directory" if self.path.exists() else "does not exist"
                raise RuntimeFault("RT0202", f"the data directory {self.path} {what}")
            if reader and not self.database.exists():
                raise RuntimeFault("RT0202", f"{self.path} is not a data directory: it has no {self.database.name}")
            if not reader and not any(self.path.iterdir()):
                self.path.chmod(0o700)  # made beforehand, with whatever mode
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise RuntimeFault("RT0202", f"the data directory {self.path} is not a directory") from None
        except OSError as error:
            raise RuntimeFault("RT0202", f"the data directory {self.path} cannot be used: {error.strerror}") from None
        self._take()
        if reader:
            times = os.fstat(self._lock)
            self._found = os.pread(self._lock, 1000, 0), (times.st_atime_ns, times.st_mtime_ns)
        self._sign()

    def _take(self) -> None:
        import fcntl  # absent on Windows, where plugin and client run

        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = self._owner()
            os.close(self._lock)
            raise RuntimeFault("RT0201", f"the data directory {self.path} is in use by {owner}") from None

    def _sign(self) -> None:
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(mine).encode(), 0)

    def _owner(self) -> str:
        try:
            owner = json.loads(os.pread(self._lock, 1000, 0))
            return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (ValueError, KeyError, OSError):
            return "another process"

    def release(self) -> None:
        """Gives the directory up."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            if self._found is not None:
                content, times = self._found
                os.pwrite(self._lock, content, 0)
                os.utime(self._lock, ns=times)
        os.close(self._lock)
