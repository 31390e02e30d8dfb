"""A handler that takes the process down does so three times, and nobody else pays for it (R13)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest
from sample.v1.sample_restate import CounterClient

from .harness import app, invocation, milliseconds, until_status
from .processes import child


@pytest.mark.rule("R13")
@pytest.mark.parametrize(
    ("how", "where"),
    [("exit", "at once"), ("kill", "after a sleep"), ("segfault", "at once"), ("exit", "side effect")],
)
async def test_the_third_unclean_exit_in_a_row_pauses(how: str, where: str, tmp_path: Path) -> None:
    said: list[list[str]] = []
    starts = 0
    for life in range(5):
        with child("deadly", tmp_path, how, where, "first" if life == 0 else "again") as process:
            status = process.end()
            said += process.said
            starts += sum(words[0] == "started" for words in process.said)
            if status == 0:
                break
            assert status == {"exit": 7, "kill": -9, "segfault": -11}[how], process.errors()
    deadly = next(words[1] for words in said if words[0] == "deadly")
    assert ["paused", deadly, "RT0303"] in said
    assert life == 3, "three lives, then it is paused"
    assert starts >= 3

    innocent = {words[1]: words[2] for words in said if words[0] == "innocent"}
    awakeables = {words[1]: words[2] for words in said if words[0] == "awakeable"}

    async def script(ctx: Any, text: str) -> Any:
        if text == "deadly":
            if where == "after a sleep":
                await ctx.sleep(milliseconds(20))
            if where == "side effect":
                await ctx.run("deadly", lambda: "survived")
            return "mended"
        return await ctx.awakeable(str) if text in ("waiting", "backing-off") else text

    async with app(script).start(data_dir=tmp_path) as runtime:
        row = invocation(runtime, deadly)
        assert "it was executing at 3 unclean exits of the process in a row" in row["last_failure"]
        assert runtime.status(innocent["behind"]) == "inboxed"
        assert (await CounterClient(runtime).add(AddRequest(name="other", amount=1))).value == 1
        assert [row["id"] for row in runtime.inspector.invocations(statuses=["paused"])] == [deadly]
        # Those that waited go on: nothing was counted against them.
        await runtime.resolve_awakeable(awakeables["waiting"], "done")
        assert (await runtime.invocation(innocent["waiting"]).result()).text == "done"
        assert runtime.status(innocent["backing-off"]) == "backing-off"
        await runtime.resume(deadly)
        assert (await runtime.invocation(deadly).result()).text == "mended"
        assert (await until_status(runtime, innocent["behind"], "completed"))["completion_result"] == "success"
