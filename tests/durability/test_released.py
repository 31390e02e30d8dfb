"""A data directory of any released version opens, and what is parked in it carries on (R46)."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Text
from sample.v1.sample_restate import CounterClient, EchoClient

import restate_runtime
from restate_runtime.engine.storage.offline import examine

from .fixtures.make import HERE, make
from .harness import Clock, app, milliseconds, start
from .parked import HOUR, OPTIONS, RESULTS, STATUSES, Handlers, carry_on

VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "restate.sqlite3").exists())


def test_this_version_has_its_fixture() -> None:
    assert restate_runtime.__version__ in VERSIONS


async def opens_and_carries_on(directory: Path, options: dict[str, Any]) -> None:
    made = json.loads((directory / "parked.json").read_text())
    ids: dict[str, str] = made["ids"]
    assert examine(directory) == []
    clock = Clock()
    clock.advance(milliseconds(made["made_ms"] - time.time_ns() // 1_000_000))
    broken = Handlers(broken=True)
    async with start(app(broken), clock, data_dir=directory, **OPTIONS, **options) as runtime:
        statuses = {name: runtime.status(id) for name, id in ids.items()}
        if statuses["effect"] == "running":  # its next execution came before this look
            statuses["effect"] = "suspended"
        assert statuses == STATUSES
        assert (await EchoClient(runtime).call(Text(text="answer"), idempotency_key="used")).text == "answer"
        assert (await CounterClient(runtime).add(AddRequest(name="other", amount=1))).value == 1
    clock.advance(HOUR * 2)
    handlers = Handlers(broken=False)
    async with start(app(handlers), clock, data_dir=directory, **OPTIONS, **options) as runtime:
        assert await carry_on(runtime, ids) == RESULTS
        assert len(runtime.inspector.state("sample.v1.Counter", None)) >= 3
    # What was recorded is not done again.
    assert handlers.effects == []
    assert examine(directory) == []


@pytest.mark.rule("R46")
@pytest.mark.parametrize("version", VERSIONS)
async def test_parked_invocations_of_a_released_version_carry_on(version: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    shutil.copytree(HERE / version, tmp_path / "data")
    await opens_and_carries_on(tmp_path / "data", runtime_options)


@pytest.mark.rule("R46")
async def test_parked_invocations_of_today_carry_on(tmp_path: Path) -> None:
    """The same with a fresh directory: a fixture that cannot be made any more is found before the release."""
    await make(tmp_path / "data")
    await opens_and_carries_on(tmp_path / "data", {})
