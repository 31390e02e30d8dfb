"""A real kill -9 of a served runtime at crash points of the tour: a sample, and with --full all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import connect

from .conftest import EXAMPLE
from .points import at_each, sample
from .programs import Start
from .scenario import End, Scenario, end_of
from .server import Server, looking
from .test_snapshots import MODES, in_process, record

SAMPLE = 12
AT_ONCE = 6


async def dies_and_goes_on(runtime: Callable[..., Server], point: int, outside: Path, expected: End) -> bool:
    """Drives the tour until the runtime kills itself at that point, starts it anew, drives the tour again. Returns whether it died.

    Args:
        runtime: makes one from variables and options.
    """
    answers: dict[str, str] = {}

    async def drive(server: Server, *, serial: bool) -> End:
        async with connect(server.ingress) as connection, looking(server) as look:
            scenario = Scenario(connection, look, outside, answers, between=(lambda: None) if serial else None)
            await scenario.run()
            return await end_of(scenario)

    async with runtime({"RESTATE_RUNTIME_CRASH_AT": str(point)}, "--batch-size", "1") as server:
        try:
            await drive(server, serial=True)
        except ConnectionError:
            await server.ended()
        died = server.died
    async with runtime({}) as server:
        assert await drive(server, serial=False) == expected
    return died


async def killed_at(point: int, folder: Path, mode: dict[str, Any], expected: End, start: Start) -> bool:
    outside = folder / "outside"
    outside.mkdir(parents=True)
    shop = {"TICKET_SHOP_OUTSIDE": str(outside), "PYTHONPATH": str(EXAMPLE)}
    always = ["--always-suspend"] if mode else []

    def runtime(environment: Mapping[str, str], *options: str) -> Server:
        here = Path(__file__).parent
        return Server("served_shop:app", here, folder / "data", {**shop, **environment}, *always, *options, start=start)

    return await dies_and_goes_on(runtime, point, outside, expected)


@MODES
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_a_kill_at_crash_points(memory_folder: Path, mode: dict[str, Any], start: Start, full: bool) -> None:
    (memory_folder / "recorded").mkdir()
    snapshots, expected = await record(memory_folder / "recorded", in_process(mode))
    points = sample(len(snapshots), None if full else SAMPLE)
    # Side effects run in threads here, so that a few more transitions may share their way.
    await at_each(
        points,
        lambda point: killed_at(point, memory_folder / str(point), mode, expected, start),
        alive=len(points) // 10,
        at_once=AT_ONCE if full else 2,
    )
