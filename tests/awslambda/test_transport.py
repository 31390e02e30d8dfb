"""Invocations of functions by the embedded engine: one thread each, and not more than there are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from restate_runtime.engine.remote import aws_lambda
from restate_runtime.engine.remote.aws_lambda import LambdaTransport
from restate_runtime.engine.remote.transport import Address

from .local_platform import ARN


class Function:
    """AWS's Invoke API, of which every function waits until it is let go."""

    def __init__(self) -> None:
        self.invoked: list[str] = []
        self.let_go = asyncio.Event()

    async def invoke(self, request: web.Request) -> web.Response:
        self.invoked.append((await request.json())["path"])
        await self.let_go.wait()
        return web.json_response({"statusCode": 200, "headers": {}, "body": ""})


@pytest.fixture
async def function(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Function]:
    function = Function()
    app = web.Application()
    app.router.add_post("/{path:.*}", function.invoke)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{runner.addresses[0][1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    try:
        yield function
    finally:
        await runner.cleanup()


class Heard:
    """What an exchange says."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.said: list[Any] = []

    def head(self, status: int, headers: Any) -> None:
        self.said.append(status)

    def data(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        self.ended.set()

    def failed(self, error: Exception) -> None:
        self.said.append(error)
        self.ended.set()

    def sent(self) -> None:
        pass


async def test_what_was_given_up_before_it_had_a_thread_is_not_invoked(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_lambda, "_AT_ONCE", 1)
    transport = LambdaTransport()
    heard = {path: Heard() for path in ("/first", "/given-up", "/last")}
    exchanges = {}
    for path, sink in heard.items():
        exchanges[path] = await transport.start(Address.parse(ARN.format(name="waits", version=1)), "POST", path, {}, sink)
        exchanges[path].end()
    while not function.invoked:
        await asyncio.sleep(0.01)
    exchanges["/given-up"].abort()
    function.let_go.set()
    for path in ("/first", "/last"):
        await heard[path].ended.wait()
    await transport.close()
    assert function.invoked == ["/first", "/last"]
    assert [heard[path].said for path in heard] == [[200], [], [200]]


async def test_what_botocore_cannot_make_sense_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "localhost:3001")
    transport, heard = LambdaTransport(), Heard()
    exchange = await transport.start(Address.parse(ARN.format(name="waits", version=1)), "POST", "/first", {}, heard)
    exchange.end()
    await heard.ended.wait()
    await transport.close()
    (error,) = heard.said
    assert "localhost:3001" in str(error)


ASKING = f'''
import asyncio
from restate_runtime.engine.remote.aws_lambda import LambdaTransport
from restate_runtime.engine.remote.transport import Address

async def main():
    transport = LambdaTransport()
    asking = asyncio.ensure_future(transport.invoke(Address.parse("{ARN.format(name="waits", version=1)}"), b'{{"path": "/x"}}'))
    await asyncio.wait([asking], timeout=5)
    print("asks" if not asking.done() else repr(asking.exception()))
    asking.cancel()
    await transport.close()

asyncio.run(main())
'''


async def test_a_function_that_runs_on_does_not_keep_the_process(function: Function) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ASKING, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):  # the function has fifteen minutes
            said, _ = await process.communicate()
    finally:
        function.let_go.set()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, said, len(function.invoked)) == (0, b"asks\n", 1)
