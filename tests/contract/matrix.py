"""Which rule held on which engine: what `nox -s matrix` makes its table of, and the time that each engine took."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["BUDGET_S", "Matrix", "engine_of", "note"]

ENGINE, RULES = "contract-engine", "contract-rules"

BUDGET_S = 180.0
"""What one engine may take in CI: ten of them are within half an hour."""


@dataclass
class Cell:
    """The tests of one rule on one engine."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Matrix:
    """A plugin that listens to a run of the suite.

    Args:
        path: where to write what was heard; `None` for nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._cells: defaultdict[str, defaultdict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: defaultdict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test; what it is about stands in the report, which may come from another process."""
        noted = dict(report.user_properties)
        engine = noted.get(ENGINE)
        if not isinstance(engine, str):
            return
        self._seconds[engine] += report.duration
        self._tests[engine] += report.when == "call"
        for rule in str(noted[RULES]).split():
            cell = self._cells[engine][rule]
            if report.failed:
                cell.failed.append(report.nodeid)
            elif report.skipped and isinstance(report.longrepr, tuple):
                cell.left_out.append(report.longrepr[2].removeprefix("Skipped: "))
            elif report.when == "call" and report.passed:
                cell.passed += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Writes what was heard, as JSON."""
        if self._path is not None:
            cells = {engine: {rule: asdict(cell) for rule, cell in rules.items()} for engine, rules in self._cells.items()}
            report = {"engines": cells, "seconds": self._seconds, "tests": self._tests}
            self._path.write_text(json.dumps(report, indent=1, sort_keys=True))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The time of each engine."""
        if self._seconds:
            terminalreporter.section(f"engines; each may take {BUDGET_S:.0f} s in CI")
        for engine, seconds in sorted(self._seconds.items()):
            terminalreporter.line(f"{engine:24} {self._tests[engine]:4} tests {seconds:6.1f} s")
        if over := self._over_budget():
            terminalreporter.line(f"over the budget: {', '.join(over)}")

    def _over_budget(self) -> list[str]:
        return [engine for engine, seconds in self._seconds.items() if seconds > BUDGET_S]


def note(item: pytest.Item) -> None:
    """Says in a test's reports which engine and which rules it is about."""
    engine = engine_of(item)
    if engine is not None:
        rules = sorted({str(marker.args[0]) for marker in item.iter_markers("rule")})
        item.user_properties += [(ENGINE, engine), (RULES, " ".join(rules))]


def engine_of(item: pytest.Item) -> str | None:
    """The engine that a test runs on."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("engine")
