"""The ticket shop of the examples, importable, and a folder whose syncs cost nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import Start, forked, fresh

EXAMPLE = Path(__file__).parents[2] / "examples" / "ticket_reservation"

if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what a killed process leaves is in the kernel's hands, synced or not."""
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="restate-crash-", dir=shared_memory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def start(full: bool) -> Start:
    """Starts processes as users do; or, for the long versions, in a fraction of the time."""
    return forked if full else fresh


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long versions take as long as they take, whatever bounds the short ones."""
    if config.getoption("--full"):
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.timeout(0), append=False)
