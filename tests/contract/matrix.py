"""Which rule held on which engine: what `nox -s matrix` makes its table of, and the time that each engine took."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

__all__ = ["BUDGET_S", "Matrix", "engine_of"]

BUDGET_S = 180.0
"""What one engine may take in CI: ten of them are within half an hour."""


@dataclass
class Cell:
    """The tests of one rule on one engine."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Matrix:
    """Listens to a run of the suite."""

    def __init__(self) -> None:
        self._cells: defaultdict[str, defaultdict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: defaultdict[str, int] = defaultdict(int)

    def add(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """One phase of a test."""
        engine = engine_of(item)
        if engine is None:
            return
        self._seconds[engine] += report.duration
        self._tests[engine] += report.when == "call"
        for rule in {str(marker.args[0]) for marker in item.iter_markers("rule")}:
            cell = self._cells[engine][rule]
            if report.failed:
                cell.failed.append(item.name)
            elif report.skipped and isinstance(report.longrepr, tuple):
                cell.left_out.append(report.longrepr[2].removeprefix("Skipped: "))
            elif report.when == "call" and report.passed:
                cell.passed += 1

    def over_budget(self) -> list[str]:
        """Engines that took longer than they may."""
        return [engine for engine, seconds in self._seconds.items() if seconds > BUDGET_S]

    def lines(self) -> list[str]:
        """The time of each engine, for people."""
        return [f"{engine:24} {self._tests[engine]:4} tests {seconds:6.1f} s" for engine, seconds in sorted(self._seconds.items())]

    def write(self, path: Path) -> None:
        """What was heard, as JSON."""
        cells = {engine: {rule: asdict(cell) for rule, cell in rules.items()} for engine, rules in self._cells.items()}
        path.write_text(json.dumps({"engines": cells, "seconds": self._seconds, "tests": self._tests}, indent=1, sort_keys=True))


def engine_of(item: pytest.Item) -> str | None:
    """The engine that a test runs on."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("engine")
