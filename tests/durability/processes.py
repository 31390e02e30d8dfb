"""Runs `child.py`, and reads what it says."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Child:
    """A child process; each line that it says is a list of words."""

    def __init__(self, scenario: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.durability.child", scenario, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        self.said: list[list[str]] = []

    def next(self) -> list[str]:
        """The next line; an empty list at the end."""
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        if words:
            self.said.append(words)
        return words

    def until(self, first: str) -> list[str]:
        """The next line that begins with that word."""
        while words := self.next():
            if words[0] == first:
                return words
        raise AssertionError(f"it ended without '{first}': {self.said[-5:]}\n{self.errors()}")

    def ask(self, line: str) -> list[str]:
        """Writes a line and reads the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.next()

    def end(self) -> int:
        """Reads the rest and waits; the exit status."""
        while self.next():
            pass
        return self.process.wait(60)

    def errors(self) -> str:
        """All of stderr, after the end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def kill(self) -> None:
        """SIGKILL, unless it is over."""
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process.wait(60)


@contextlib.contextmanager
def child(scenario: str, *arguments: object) -> Iterator[Child]:
    """A child that does not outlive the block."""
    running = Child(scenario, *arguments)
    try:
        yield running
    finally:
        running.kill()
