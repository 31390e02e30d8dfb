"""A process of its own for tests that kill it: `python -m tests.durability.child SCENARIO DATA_DIR [ARGUMENT]...`.

It writes one line for each thing that happened, and flushes it: what it has written is what somebody outside has seen.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import urllib.parse  # noqa: F401 - pathlib loads it late on 3.13, when as_nobody may not read Python's own folder any more
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Runtime, RuntimeFault

from .harness import app, milliseconds, until, until_status

Scenario = Callable[..., Awaitable[None]]


def say(*words: object) -> None:
    print(*words, flush=True)


def die(how: str) -> None:
    match how:
        case "exit":
            os._exit(7)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            ctypes.string_at(0)


async def deadly(data_dir: Path, how: str, where: str, first: str) -> None:
    """One handler takes the process down, others wait for an awakeable: in memory, and suspended."""

    async def script(ctx: Any, text: str) -> Any:
        if text == "deadly":
            say("started")
            if where == "after a sleep":
                await ctx.sleep(milliseconds(20))
            if where == "side effect":
                await ctx.run("deadly", lambda: die(how))
            die(how)
        gate = ctx.awakeable(str)
        say("awakeable", text, gate.id)
        if text == "backing-off":
            raise ValueError("later")
        return await gate

    options: dict[str, Any] = {"retry_initial_interval": timedelta(hours=1), "inactivity_timeout": timedelta(hours=1)}
    async with app(script).start(data_dir=data_dir, **options) as runtime:
        if first == "first":
            for text in ("waiting", "backing-off"):
                say("innocent", text, await EchoClient(runtime).script.in_background(Text(text=text)).invocation_id())
            client = CounterClient(runtime)
            # On disk before it begins, so that it does not vanish with the process.
            handle = client.script.delayed(KeyedText(key="k", text="deadly"), delay=milliseconds(30))
            say("deadly", await handle.invocation_id())
            behind = client.script.delayed(KeyedText(key="k", text="behind"), delay=milliseconds(31))
            say("innocent behind", await behind.invocation_id())
        paused = await until(lambda: runtime.inspector.invocations(statuses=["paused"]))
        say("paused", *(row["id"] for row in paused), paused[0]["last_failure_error_code"])


async def owner(data_dir: Path) -> None:
    """Owns the directory and adds one for every line that comes in."""
    try:
        async with app().start(data_dir=data_dir) as runtime:
            say("ready", os.getpid())
            await serve_lines(runtime)
    except RuntimeFault as fault:
        say("fault", fault.code, fault.message)
        sys.exit(fault.exit_status)


async def serve_lines(runtime: Runtime) -> None:
    """`add` adds one, `read` opens and closes the database by hand, `end` ends."""
    loop = asyncio.get_running_loop()
    while (line := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) not in ("", "end"):
        if line == "read":
            with (runtime.data_dir / "restate.sqlite3").open("rb") as file:
                file.read()
            say("read")
            continue
        try:
            say("added", (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value)
        except ConnectionError as error:
            say("refused", error)
            if runtime.failed.done():
                raise runtime.failed.result() from None


async def as_nobody(data_dir: Path) -> None:
    """Starts without root's right to write everywhere."""
    if os.getuid() == 0:
        os.setuid(65534)
    await owner(data_dir)


async def adder(data_dir: Path, checkpoint: str) -> None:
    """Adds until it is killed; says each sum that was acknowledged."""
    async with app().start(data_dir=data_dir) as runtime:
        if checkpoint != "0":
            runtime._machinery._database.connection.pragma("wal_autocheckpoint", int(checkpoint))
        say("ready", os.getpid())
        for n in range(10_000):
            key = f"k{n % 5}"
            value = (await CounterClient(runtime).add(AddRequest(name=key, amount=1))).value
            say("added", key, value)


async def stopping(data_dir: Path) -> None:
    """Ends in order at SIGTERM, with a handler that waits and one that runs."""

    async def script(ctx: Any, text: str) -> Any:
        say("attempt", text, ctx.attempt)
        if text == "running":
            await ctx.run("long", lambda: asyncio.sleep(3600))
        return await ctx.awakeable(str)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with app(script).start(data_dir=data_dir, shutdown_timeout=milliseconds(200)) as runtime:
        for text in ("waiting", "running"):
            handle = EchoClient(runtime).script.in_background(Text(text=text))
            id = await handle.invocation_id()
            await until_status(runtime, id, "running")
            say("id", text, id)
        say("ready", os.getpid())
        await stop.wait()
    say("stopped")


SCENARIOS: dict[str, Scenario] = {
    "deadly": deadly,
    "owner": owner,
    "as-nobody": as_nobody,
    "adder": adder,
    "stopping": stopping,
}

if __name__ == "__main__":
    asyncio.run(SCENARIOS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:]))  # type: ignore[arg-type]
