"""What an endpoint is told is on disk before: a side effect that follows from it must not have followed from nothing (R40, R41)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime.app import bare_app
from restate_runtime.engine.storage.database import Database
from restate_runtime.identifiers import parse_invocation_id

from ..contract.endpoints import Served
from ..durability.harness import app, milliseconds


@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.parametrize("http1", [False, True], ids=["bidi", "http1"])
@pytest.mark.parametrize("batch_size", [None, 1], ids=["batches", "batch-size-1"])
async def test_an_endpoint_hears_of_what_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http1: bool, batch_size: int | None
) -> None:
    commit = Database.commit

    def slowly(self: Database, batch: Any) -> None:
        time.sleep(0.02)
        commit(self, batch)

    monkeypatch.setattr(Database, "commit", slowly)

    async def script(ctx: Any, text: str) -> Any:
        if text == "child":
            return "answer"
        with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/data/restate.sqlite3?mode=ro", uri=True)) as disk:

            def results() -> int:
                """How many are on disk for this invocation."""
                id = parse_invocation_id(ctx.invocation_id)
                query = "SELECT count(*) FROM notification WHERE seq = (SELECT seq FROM invocation WHERE id = ?)"
                return int(disk.execute(query, (id,)).fetchone()[0])

            found: list[bool] = []
            for number in range(3):
                await ctx.run(f"step {number}", lambda: 1)
                found.append(results() > len(found))
            await EchoClient(ctx).script(Text(text="child"))
            found.append(results() > len(found))
            await ctx.sleep(milliseconds(1))
            found.append(results() > len(found))
            return found

    services = Served(lambda: app(script))
    await services.start()
    try:
        async with bare_app().start(data_dir=tmp_path / "data", batch_size=batch_size) as runtime:
            await runtime.register_deployment(services.url, http1=http1)
            answers = await asyncio.gather(*(EchoClient(runtime).script(Text(text=f"{n}")) for n in range(4)))
    finally:
        await services.stop()
    assert [answer.text for answer in answers] == [str([True] * 5)] * 4
