"""A crash at every point of the tour: nothing acknowledged is lost, nothing is done twice, no recorded result is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import services
from outside import MailServer, PaymentProvider

from restate_runtime.app import Started, bare_app
from restate_runtime.engine.committer import Committer
from restate_runtime.engine.crashpoints import Probe, no_probe
from restate_runtime.engine.options import load_options
from restate_runtime.engine.storage.database import connect

from ..contract.endpoints import Served
from .points import sample
from .scenario import End, InProcess, Scenario, end_of, shop
from .snapshots import Recorder, Snapshot

MODES = pytest.mark.parametrize("mode", [{}, {"always_suspend": True}], ids=["default", "always-suspend"])
_AT_ONCE = 8
_STUCK_S = 30
_SAMPLE = 12


@pytest.fixture(autouse=True)
def long_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    """To carry on from all snapshots can take longer than a customer has for a reservation."""
    monkeypatch.setattr(services, "RESERVED_FOR", timedelta(days=1))


@dataclass(frozen=True)
class OnDisk:
    """What a data directory holds: every entry of every journal, and the idempotency keys of calls, with their status."""

    entries: Mapping[tuple[str, int, int], bytes]
    calls: Mapping[str, str]


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


Start = Callable[..., AbstractAsyncContextManager[Any]]
"""Starts a runtime of the shop: its data directory, the outside world's folder; a probe and further options."""


def in_process(mode: dict[str, Any]) -> Start:
    """The shop's services in the runtime's own process."""

    def start(data_dir: Path, outside: Path, *, probe: Probe = no_probe, **more: Any) -> Started:
        app = shop(Inline(PaymentProvider(outside)), Inline(MailServer(outside)))
        return Started(app.registry, load_options({"data_dir": data_dir, **mode, **more}, environ={}), probe=probe)

    return start


async def record(folder: Path, start: Start, *, checkpoints: bool = True) -> tuple[list[Snapshot], End]:
    """The run that does not crash, with a snapshot at every point and one at its end.

    Checkpoints between the steps keep SQLite's log, and with it every snapshot, small.
    """
    data_dir, outside = folder / "data", folder / "outside"
    data_dir.mkdir(mode=0o700)
    outside.mkdir()
    answers: dict[str, str] = {}
    recorder = Recorder(data_dir, outside, answers)
    async with start(data_dir, outside, probe=recorder, batch_size=1) as runtime:

        def checkpoint() -> None:
            if not checkpoints:
                return
            recorder.check_log()
            connection = apsw.Connection(str(data_dir / "restate.sqlite3"))
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
            connection.close()
            assert not busy

        scenario = Scenario(runtime, InProcess(runtime), outside, answers, between=checkpoint)
        await scenario.run()
        recorder("end")
        return recorder.snapshots, await end_of(scenario)


def read(data_dir: Path) -> OnDisk:
    if not (data_dir / "restate.sqlite3").exists():
        return OnDisk({}, {})
    connection = connect(data_dir / "restate.sqlite3", read_only=True)
    try:
        entries = {
            (table, seq, position): entry
            for table in ("command", "notification")
            for seq, position, entry in connection.execute(f"SELECT seq, position, entry FROM {table}")
        }
        calls = connection.execute("SELECT idempotency_key, status FROM invocation WHERE idempotency_key IS NOT NULL")
        return OnDisk(entries, dict(calls))
    finally:
        connection.close()


async def carry_on(snapshot: Snapshot, folder: Path, start: Start, expected: End) -> None:
    """Starts on what the crash left, drives the tour again from its beginning, and compares."""
    data_dir, outside = folder / "data", folder / "outside"
    folder.mkdir()
    snapshot.restore(data_dir, outside)
    before = read(data_dir)
    for key in snapshot.acknowledged:
        call, _, what = key.partition(": ")
        assert call in before.calls, f"'{call}' was acknowledged and is not on disk"
        assert what or before.calls[call] == "completed", f"'{call}' was answered and its result is not on disk"
    for request in PaymentProvider(outside).requests.lines():
        key = request["key"].encode()
        assert any(key in entry for entry in before.entries.values()), "the provider has seen a payment key that is not on disk"
    async with start(data_dir, outside) as runtime:
        # What was acknowledged must be answered in the same way.
        scenario = Scenario(runtime, InProcess(runtime), outside, dict(snapshot.acknowledged))
        await scenario.run()
        found = await end_of(scenario)
        after = read(data_dir)
    assert found == expected
    assert {place: after.entries.get(place) for place in before.entries} == before.entries, "a recorded entry was replaced"
    shutil.rmtree(folder)


async def failures_of(snapshots: Sequence[Snapshot], expected: End, folder: Path, start: Start, at_once: int = _AT_ONCE) -> list[str]:
    """Carries on from each snapshot; what was wrong, in which."""
    room = asyncio.Semaphore(at_once)
    failures: list[str] = []

    async def one(snapshot: Snapshot) -> None:
        async with room:
            try:
                async with asyncio.timeout(_STUCK_S):
                    await carry_on(snapshot, folder / str(snapshot.number), start, expected)
            except Exception as error:
                failures.append(f"point {snapshot.number} ({snapshot.kind}): {type(error).__name__}: {error}")

    await asyncio.gather(*map(one, snapshots))
    return failures


@MODES
@pytest.mark.timeout(300)
@pytest.mark.rule("R21")
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.rule("R42")
async def test_a_crash_at_every_point(memory_folder: Path, mode: dict[str, Any]) -> None:
    snapshots, expected = await record(memory_folder, in_process(mode))
    print(f"{len(snapshots)} points: {dict(Counter(snapshot.kind for snapshot in snapshots))}")
    failures = await failures_of(snapshots, expected, memory_folder, in_process(mode))
    assert not failures, "\n".join(failures)


async def test_a_runtime_without_output_barrier_is_found_out(memory_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Committer, "when_durable", lambda self, release: self._loop.call_soon(release))
        snapshots, expected = await record(memory_folder, in_process({}), checkpoints=False)
    failures = await failures_of(snapshots[:50], expected, memory_folder, in_process({}))
    assert any("its result is not on disk" in failure for failure in failures)


@MODES
async def test_the_points_keep_their_numbers(memory_folder: Path, mode: dict[str, Any]) -> None:
    runs = []
    for run in ("first", "second"):
        (memory_folder / run).mkdir()
        runs.append(await record(memory_folder / run, in_process(mode)))
    (first, first_end), (second, second_end) = runs
    assert [snapshot.kind for snapshot in first] == [snapshot.kind for snapshot in second]
    assert first_end == second_end


class Elsewhere:
    """The shop's services at one endpoint of this process, for one runtime after the other; the outside world is that of the last."""

    def __init__(self, http1: bool) -> None:
        self._http1 = http1
        self._outside = Path()
        self._served = Served(lambda: shop(_Current(self, PaymentProvider), _Current(self, MailServer)))

    def world(self, fake: Callable[[Path], Any]) -> Any:
        return Inline(fake(self._outside))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        await self._served.start()
        try:
            yield
        finally:
            await self._served.stop()

    @contextlib.asynccontextmanager
    async def start(self, data_dir: Path, outside: Path, *, probe: Probe = no_probe, **more: Any) -> AsyncIterator[Any]:
        self._outside = outside
        heard = no_probe

        def hear(kind: str) -> None:
            heard(kind)

        async with Started(bare_app().registry, load_options({"data_dir": data_dir, **more}, environ={}), probe=hear) as runtime:
            await runtime.register_deployment(self._served.url, http1=self._http1)  # known again after a crash: nothing changes
            heard = probe
            yield runtime


class _Current:
    """A fake of the outside world that the endpoint is in now."""

    def __init__(self, elsewhere: Elsewhere, fake: Callable[[Path], Any]) -> None:
        self._elsewhere = elsewhere
        self._fake = fake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._elsewhere.world(self._fake), name)


@pytest.mark.parametrize("http1", [False, True], ids=["bidirectional", "request-response"])
@pytest.mark.timeout(300)
@pytest.mark.rule("R21")
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.rule("R42")
async def test_a_crash_of_a_runtime_whose_services_are_elsewhere(memory_folder: Path, http1: bool, full: bool) -> None:
    """At every point in the long version, else at some."""
    elsewhere = Elsewhere(http1)
    async with elsewhere.serving():
        snapshots, expected = await record(memory_folder, elsewhere.start)
        print(f"{len(snapshots)} points: {dict(Counter(snapshot.kind for snapshot in snapshots))}")
        chosen = [snapshots[point - 1] for point in sample(len(snapshots), None if full else _SAMPLE)]
        failures = await failures_of(chosen, expected, memory_folder, elsewhere.start, at_once=1)
    assert not failures, "\n".join(failures)
