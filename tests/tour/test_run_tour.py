"""The tour as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import EXAMPLE


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(EXAMPLE / "run_tour.py")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.rule("R40")
def test_the_tour_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with start(tmp_path) as tour:
        output, _ = tour.communicate(timeout=110)
    assert tour.returncode == 0, output
    assert not list(tmp_path.iterdir())
    pids = [int(pid) for pid in re.findall(r"process (\d+)", output)]
    assert len(pids) == 2
    assert not any(map(runs, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_tour_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path) as tour:
        assert tour.stdout is not None
        serving = next(match for line in tour.stdout if (match := re.search(r"process (\d+)", line)))
        tour.send_signal(number)
        rest = tour.stdout.read()
    assert tour.returncode == 128 + number, rest
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())
    assert not runs(int(serving[1]))
