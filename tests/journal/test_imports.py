"""Ring 2 alone: no I/O, no clock, no threads come with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = {"apsw", "asyncio", "random", "selectors", "socket", "sqlite3", "ssl", "subprocess", "threading", "time"}

# Plain values; protobuf, which they need, brings `threading`. What counts is what the journal adds.
RING_1 = ("restate_runtime.errors", "restate_runtime.identifiers", "restate_runtime.retry", "restate_runtime.serde")

_PROGRAM = """
import sys
before = set(sys.modules)
import {module}
print("\\n".join(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""


def added_by(module: str, *before: str) -> set[str]:
    """Top-level modules that importing one adds to an interpreter that has imported those before."""
    program = "".join(f"import {name}\n" for name in before) + _PROGRAM.format(module=module)
    # Without `site`, which may import anything; what is installed is found all the same.
    completed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(completed.stdout.split())


@pytest.mark.parametrize(
    "module", ["core", "replay", "waits", "nodes", "recovery", "lifecycle", "commands", "interventions", "deadlock", "promises"]
)
def test_the_journal_brings_no_io_no_clock_and_no_threads(module: str) -> None:
    assert not added_by(f"restate_runtime.journal.{module}", *RING_1) & FORBIDDEN


def test_the_check_sees_what_it_is_for() -> None:
    assert {"asyncio", "random"} <= added_by("restate_runtime.engine.driver", *RING_1)
