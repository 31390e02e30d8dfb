"""What all tests share: how the runtime runs, and whether the long versions run."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .contract.matrix import Matrix

MODES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "always-suspend": {"always_suspend": True},
    "batch-size-1": {"batch_size": 1},
}
"""Options of `app.start` for each way in which the runtime's tests run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--runtime-mode",
        choices=[*MODES, "all"],
        default=os.environ.get("RESTATE_TEST_MODE", "default"),
        help="how tests with the fixture runtime_options run a runtime; 'all': once in each way (default: $RESTATE_TEST_MODE or 'default')",
    )
    parser.addoption(
        "--engine", action="append", help="an engine for tests/contract; without one all, slow ones for the tests marked smoke"
    )
    parser.addoption("--matrix", metavar="FILE", help="write which rule of the contract held on which engine, as JSON")
    parser.addoption("--full", action="store_true", help="the long versions of the crash and chaos tests")


def pytest_configure(config: pytest.Config) -> None:
    mode = config.getoption("--runtime-mode")
    if mode not in (*MODES, "all"):  # argparse does not check a default, which the environment gives here
        raise pytest.UsageError(f"RESTATE_TEST_MODE={mode} is not one of {', '.join(MODES)}, all")
    # A shell has it ignored by what it starts in the background; whatever the tests start and interrupt would ignore it, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # where tests run in several processes, the one that hears of all
        path = config.getoption("--matrix")
        config.pluginmanager.register(Matrix(None if path is None else Path(path)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime_options" in metafunc.fixturenames:
        mode = metafunc.config.getoption("--runtime-mode")
        metafunc.parametrize("runtime_options", list(MODES) if mode == "all" else [mode], indirect=True)


@pytest.fixture
def runtime_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Keyword options for `app.start`, of the mode that this run is for."""
    return dict(MODES[request.param])


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long version of a test is asked for."""
    return bool(request.config.getoption("--full"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests of texts that are no Unicode print can be sent from process to process all the same."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
