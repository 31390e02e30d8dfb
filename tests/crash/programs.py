"""Our command as a process, which can be killed: a fresh one, as users start it, or a fork of one that has imported everything already.

A fork starts in a twentieth of the time, which is what makes a kill at each of thousands of points bearable.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Protocol

__all__ = ["Program", "Start", "forked", "fresh"]

_COMMAND = Path(sys.executable).with_name("restate-runtime")
# What the command imports along its way, and what the shop takes.
_PRELOADED = [
    "restate_runtime.admin",
    "restate_runtime.app",
    "restate_runtime.cli.endpoint",
    "restate_runtime.cli.main",
    "restate_runtime.cli.serve",
    "restate_runtime.cluster.endpoint",
    "restate_runtime.cluster.serving",
    "restate_runtime.engine.remote.hosting",
    "restate_runtime.ingress",
    "restate_runtime.serving",
    "hypercorn.asyncio",
    "restate",
    "tour.v1.tour_restate",
]


class Program(Protocol):
    """The part of `subprocess.Popen` that tests use."""

    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def send_signal(self, sig: int) -> None: ...


Start = Callable[[Sequence[str], Path, Mapping[str, str], Path], Program]
"""Starts `restate-runtime`: its arguments, the working directory, variables beside those of this process, the file for stderr."""


def fresh(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Program:
    """The command as it is installed."""
    variables = {**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("ab") as errors:
        return subprocess.Popen([_COMMAND, *arguments], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=errors)


def forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Program:
    """The command, as a fork."""
    return _Fork(arguments, folder, environment, log)


class _Fork:
    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        reader, writer = _forks().Pipe(duplex=False)
        self._process = _forks().Process(target=_run, args=(writer, arguments, folder, dict(environment), log))
        self._process.start()
        self._status: int | None = None
        writer.close()
        self.stdout: IO[bytes] = os.fdopen(os.dup(reader.fileno()), "rb")
        reader.close()

    def poll(self) -> int | None:
        return self._process.exitcode if self._status is None else self._status

    def wait(self) -> int:
        if self._status is None:
            self._process.join()
            self._status = self._process.exitcode
            self._process.close()
            self.stdout.close()
        assert self._status is not None
        return self._status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            assert self._process.pid is not None
            os.kill(self._process.pid, sig)


@functools.cache
def _forks() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _run(stdout: Connection, arguments: Sequence[str], folder: Path, environment: dict[str, str], log: Path) -> None:
    """The command, in the fork."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server of forks ignores it
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    stdout.close()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = [str(_COMMAND), *arguments]
    from restate_runtime.cli.main import main

    main()
