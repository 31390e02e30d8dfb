"""A kill -9 at any moment, over and over, while clients go on."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import aiohttp
import pytest

from ..crash.clients import Clients, check
from ..crash.server import Server, looking

CLIENTS = 16
KEYS = 4
CYCLES = 8
CYCLES_FULL = 500
LONGEST_LIFE_S = 0.5


@pytest.mark.parametrize("options", [[], ["--always-suspend"]], ids=["default", "always-suspend"])
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.rule("R42")
async def test_kills_at_random_moments(tmp_path: Path, options: list[str], full: bool) -> None:
    log, executed = tmp_path / "sent", tmp_path / "executed"
    seed = int(os.environ.get("RESTATE_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    cycles = CYCLES_FULL if full else CYCLES
    print(f"RESTATE_TEST_SEED={seed}: {cycles} cycles")
    chance = random.Random(seed)

    def server(ingress: str) -> Server:
        folder = Path(__file__).parents[1] / "crash"
        return Server("served_counter:app", folder, tmp_path / "data", {"EXECUTED": str(executed)}, *options, ingress=ingress)

    ingress = "127.0.0.1:0"
    running: asyncio.Task[dict[str, int]] | None = None
    over = asyncio.Event()
    for _ in range(cycles):
        async with server(ingress) as started:
            ingress = started.ingress.removeprefix("http://")
            if running is None:
                clients = Clients(started.ingress, log, clients=CLIENTS, keys=KEYS, seed=seed)
                running = asyncio.ensure_future(clients.run(lambda _: not over.is_set()))
            await resume_suspects(started)
            await asyncio.sleep(chance.random() * LONGEST_LIFE_S)
        assert not running.done()
    over.set()
    assert running is not None
    async with server(ingress) as last:
        await resume_suspects(last)
        sums = await running
        assert await last.stop() == 0
    check(sums, log, executed)


async def resume_suspects(server: Server) -> None:
    """Lets go on what was executing at three kills in a row: the runtime cannot know that it was not the cause."""
    async with looking(server) as look, aiohttp.ClientSession() as session:
        for row in await look.invocations(status="paused"):
            assert row["last_failure_error_code"] == "RT0303", row
            async with session.patch(f"{server.admin}/invocations/{row['id']}/resume") as response:
                assert response.status == 200, await response.text()
