"""A crash at every point of the tour: nothing acknowledged is lost, nothing is done twice, no recorded result is replaced."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from outside import MailServer, PaymentProvider

from restate_runtime.app import Started
from restate_runtime.engine.crashpoints import no_probe
from restate_runtime.engine.options import load_options
from restate_runtime.engine.storage.database import connect

from .scenario import End, InProcess, Scenario, end_of, shop
from .snapshots import Recorder, Snapshot

MODES = pytest.mark.parametrize("mode", [{}, {"always_suspend": True}], ids=["default", "always-suspend"])
_AT_ONCE = 8
_STUCK_S = 30

Journal = dict[tuple[str, int, int], bytes]


class Inline:
    """Runs a fake's methods in the event loop's thread, so that nothing happens side by side and the points keep their numbers."""

    def __init__(self, fake: Any) -> None:
        self._fake = fake

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._fake, name)

        @functools.wraps(method)
        async def call(*arguments: Any) -> Any:
            return method(*arguments)

        return call


def started(data_dir: Path, outside: Path, mode: dict[str, Any], **more: Any) -> Started:
    app = shop(Inline(PaymentProvider(outside)), Inline(MailServer(outside)))
    probe = more.pop("probe", no_probe)
    return Started(app.registry, load_options({"data_dir": data_dir, **mode, **more}, environ={}), probe=probe)


async def record(folder: Path, mode: dict[str, Any]) -> tuple[list[Snapshot], End]:
    """The run that does not crash, with a snapshot at every point and one at its end."""
    data_dir, outside = folder / "data", folder / "outside"
    data_dir.mkdir(mode=0o700)
    outside.mkdir()
    answers: dict[str, str] = {}
    recorder = Recorder(data_dir, outside, answers)
    async with started(data_dir, outside, mode, probe=recorder, batch_size=1) as runtime:

        def checkpoint() -> None:
            # Keeps the log, and with it every snapshot, small.
            recorder.check_log()
            connection = apsw.Connection(str(data_dir / "restate.sqlite3"))
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
            connection.close()
            assert not busy

        scenario = Scenario(runtime, InProcess(runtime), outside, answers, between=checkpoint)
        await scenario.run()
        recorder("end")
        return recorder.snapshots, await end_of(scenario)


def journal(data_dir: Path) -> Journal:
    """Every entry of every journal on disk."""
    connection = connect(data_dir / "restate.sqlite3", read_only=True)
    try:
        return {
            (table, seq, position): entry
            for table in ("command", "notification")
            for seq, position, entry in connection.execute(f"SELECT seq, position, entry FROM {table}")
        }
    finally:
        connection.close()


async def carry_on(snapshot: Snapshot, folder: Path, mode: dict[str, Any], expected: End) -> None:
    """Starts on what the crash left, drives the tour again from its beginning, and compares."""
    data_dir, outside = folder / "data", folder / "outside"
    folder.mkdir()
    snapshot.restore(data_dir, outside)
    before = journal(data_dir) if (data_dir / "restate.sqlite3").exists() else {}
    async with started(data_dir, outside, mode) as runtime:
        # What was acknowledged must be answered in the same way.
        scenario = Scenario(runtime, InProcess(runtime), outside, dict(snapshot.acknowledged))
        await scenario.run()
        found = await end_of(scenario)
        after = journal(data_dir)
    assert found == expected
    assert {key: after.get(key) for key in before} == before, "a recorded entry was replaced"
    shutil.rmtree(folder)


@MODES
@pytest.mark.timeout(300)
@pytest.mark.rule("R21")
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.rule("R42")
async def test_a_crash_at_every_point(memory_folder: Path, mode: dict[str, Any]) -> None:
    snapshots, expected = await record(memory_folder, mode)
    room = asyncio.Semaphore(_AT_ONCE)
    failures: list[str] = []

    async def one(snapshot: Snapshot) -> None:
        async with room:
            try:
                async with asyncio.timeout(_STUCK_S):
                    await carry_on(snapshot, memory_folder / str(snapshot.number), mode, expected)
            except Exception as error:
                failures.append(f"point {snapshot.number} ({snapshot.kind}): {type(error).__name__}: {error}")

    await asyncio.gather(*map(one, snapshots))
    print(f"{len(snapshots)} points: {dict(Counter(snapshot.kind for snapshot in snapshots))}")
    assert not failures, "\n".join(failures)


@MODES
async def test_the_points_keep_their_numbers(memory_folder: Path, mode: dict[str, Any]) -> None:
    runs = []
    for run in ("first", "second"):
        (memory_folder / run).mkdir()
        runs.append(await record(memory_folder / run, mode))
    (first, first_end), (second, second_end) = runs
    assert [snapshot.kind for snapshot in first] == [snapshot.kind for snapshot in second]
    assert first_end == replace(second_end)
