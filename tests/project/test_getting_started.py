"""The tutorial's story is true: its files, its commands, the kill -9 in the middle, and what comes out."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text()
SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the tutorial's files, after its first command. The coffee brews faster here."""
    for name, text in re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text.replace("timedelta(seconds=15)", "timedelta(seconds=4)"))
    (command,) = re.findall(r"^    python (-m protoc_gen_restate .*)$", PAGE, re.MULTILINE)
    subprocess.run([sys.executable, *command.split()], cwd=tmp_path, check=True, timeout=50)
    return tmp_path


async def serve(folder: Path) -> tuple[Process, dict[str, Any]]:
    """Starts the tutorial's server on free ports, and returns it with its addresses."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "restate-runtime",
        *("serve", "cafe:app", "--data-dir", "data", "--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


async def look(folder: Path, *arguments: str) -> Any:
    """What one of the tutorial's commands shows, as JSON."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "restate-runtime", *arguments, "--json", cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def order(session: aiohttp.ClientSession, ingress: str) -> Any:
    """The tutorial's request."""
    body, headers = {"customer": "ada", "drink": "espresso"}, {"idempotency-key": "order-1"}
    async with session.post(f"{ingress}/cafe.Barista/Place", json=body, headers=headers) as response:
        return await response.json()


async def brewing(folder: Path, admin: str) -> None:
    """Returns once the timer is on disk, and the charge before it."""
    while True:
        for invocation in await look(folder, "invocations", "list", "--admin", admin):
            described = await look(folder, "invocations", "describe", invocation["id"], "--admin", admin)
            if "sleep" in json.dumps(described["journal"]).lower():
                return


@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_nothing_is_lost_when_the_runtime_is_killed_while_it_brews(folder: Path) -> None:
    process, addresses = await serve(folder)
    async with aiohttp.ClientSession() as session:
        first = asyncio.ensure_future(order(session, addresses["ingress"]))
        await brewing(folder, addresses["admin"])
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with pytest.raises(aiohttp.ClientError):
            await first

        process, addresses = await serve(folder)
        try:
            assert await order(session, addresses["ingress"]) == {"text": "espresso for ada", "stamps": 1}
            (invocation,) = await look(folder, "invocations", "list", "--admin", addresses["admin"])
            assert (invocation["status"], invocation["completion_result"]) == ("completed", "success")
            described = await look(folder, "invocations", "describe", invocation["id"], "--admin", addresses["admin"])
            assert described["journal"]
            (state,) = await look(folder, "state", "get", "cafe.Barista", "ada", "--admin", addresses["admin"])
            assert (state["key"], state["value_json"]) == ("stamps", 1) or state["value_json"] == "1"
        finally:
            process.terminate()
            assert await process.wait() == 0
    assert (folder / "charges.txt").read_text() == "ada\n"
