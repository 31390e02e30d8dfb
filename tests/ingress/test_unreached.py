"""What is said where nothing can be reached: a URL of the other scheme, a host that nobody knows, no URL."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from restate_runtime import connect, connect_sync

NO_TLS = r"no TLS is spoken there \(.+\): is its URL http\?$"
NO_HOST = r"(Name or service not known|nodename nor servname provided.*|Temporary failure in name resolution)$"


async def call(url: str) -> None:
    async with connect(url) as connection:
        await connection.method("sample.v1.Echo/Call")(b"")


async def call_sync(url: str) -> None:
    def called() -> None:
        with connect_sync(url) as connection:
            connection.method("sample.v1.Echo/Call")(b"")

    await asyncio.to_thread(called)


@pytest.fixture
async def plain() -> AsyncIterator[str]:
    """The https URL of a server without TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("call", [call, call_sync])
async def test_https_where_there_is_none(plain: str, call: Callable[[str], Any]) -> None:
    with pytest.raises(ConnectionError, match=f"^no runtime can be reached at {plain}: {NO_TLS}"):
        await call(plain)


@pytest.mark.parametrize("call", [call, call_sync])
async def test_a_host_that_nobody_knows(call: Callable[[str], Any]) -> None:
    with pytest.raises(ConnectionError, match=f"^no runtime can be reached at http://no.such.invalid: {NO_HOST}"):
        await call("http://no.such.invalid")


async def test_the_command_line(plain: str) -> None:
    command = [sys.executable, "-m", "restate_runtime.cli.main", "invocations", "list", "--admin", plain]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert re.fullmatch(rf"error: no runtime answers at {plain} \(--admin\): {NO_TLS[:-1]} \[RT0501\]\n", done.stderr)


@pytest.mark.parametrize("connect", [connect, connect_sync])
@pytest.mark.parametrize("url", [5, None, b"http://127.0.0.1:8080"])
def test_what_is_no_text(connect: Callable[[Any], Any], url: object) -> None:
    with pytest.raises(TypeError, match=rf"the ingress' URL as a str .*, not a {type(url).__name__}$"):
        connect(url)
