"""AWS Lambda on this machine, as far as a function can tell: the Invoke API in front, AWS's own runtime client behind.

A function's process is frozen (SIGSTOP) whenever it has nothing to do, as Lambda does it, and is thrown away after some invocations.
One process takes one invocation at a time; more at once start more processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

AT_ONCE = 6
"""Processes of a version: Lambda would start more, on more than one machine."""
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:{name}:{version}"


@dataclass(eq=False)
class Work:
    """One invocation of the function."""

    payload: bytes
    arn: str
    answer: asyncio.Future[web.Response]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Sandbox:
    """One process of a version of the function, with a Runtime API of its own."""

    def __init__(self, platform: Platform, arn: str) -> None:
        self.arn = arn
        self._platform = platform
        self._runner: web.AppRunner | None = None
        self._next: asyncio.Future[Work] | None = None
        self._work: Work | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.done = 0
        self.frozen = False

    async def start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get("/2018-06-01/runtime/invocation/next", self._give)
        app.router.add_post("/2018-06-01/runtime/invocation/{id}/response", self._take)
        app.router.add_post("/2018-06-01/runtime/invocation/{id}/error", self._fail)
        app.router.add_post("/2018-06-01/runtime/init/error", self._broken)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        environment = {
            **os.environ,
            **self._platform.versions[self.arn],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": self._platform.name,
            "LAMBDA_TASK_ROOT": str(self._platform.folder),
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "awslambdaric", self._platform.handler, cwd=self._platform.folder, env=environment
        )
        await self.process.wait()
        self._platform.died(self, self._work)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self._runner is not None:
            await self._runner.cleanup()

    def invoke(self, work: Work) -> None:
        """Thaws the process and gives it work; it waits for some."""
        assert self._next is not None
        assert self.process is not None
        if self.frozen:
            self.process.send_signal(signal.SIGCONT)
            self.frozen = False
        self._work = work
        self._next.set_result(work)

    async def _give(self, request: web.Request) -> web.Response:
        self._work = None
        self._next = asyncio.get_running_loop().create_future()
        self._platform.idles(self)
        if not self._next.done():
            assert self.process is not None
            self.process.send_signal(signal.SIGSTOP)
            self.frozen = True
        work = await self._next
        headers = {
            "Lambda-Runtime-Aws-Request-Id": work.id,
            "Lambda-Runtime-Deadline-Ms": "9999999999999",
            "Lambda-Runtime-Invoked-Function-Arn": self.arn,
        }
        return web.Response(body=work.payload, headers=headers, content_type="application/json")

    async def _take(self, request: web.Request) -> web.Response:
        return self._answered(web.Response(body=await request.read(), content_type="application/json"))

    async def _fail(self, request: web.Request) -> web.Response:
        return self._answered(failed((await request.read()).decode()))

    async def _broken(self, request: web.Request) -> web.Response:
        self._platform.broken = (await request.read()).decode()
        return web.Response(status=202)

    def _answered(self, response: web.Response) -> web.Response:
        work = self._work
        if work is not None and not work.answer.done():
            self.done += 1
            work.answer.set_result(response)
        return web.Response(status=202)


def failed(error: str) -> web.Response:
    """What the Invoke API answers for a function that failed; `error` is JSON."""
    return web.Response(text=error, headers={"X-Amz-Function-Error": "Unhandled"}, content_type="application/json")


class Platform:
    """One function.

    Args:
        folder: where its code is.
        handler: `module.function`.
        lives: invocations after which a process is thrown away.
        environment: further variables of its processes.

    Attributes:
        arn: of the first version.
        versions: environments of the published versions, by their ARNs.
    """

    def __init__(self, folder: Path, handler: str, *, lives: int = 3, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.handler = handler
        self.name = "tour"
        self.versions: dict[str, Mapping[str, str]] = {}
        self.arn = self.publish(environment or {})
        self.broken = ""
        self.url = ""
        self.started = 0
        self.invoked = 0
        self._lives = lives
        self._idle: list[Sandbox] = []
        self._all: list[Sandbox] = []
        self._waiting: list[Work] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[Platform]:
        """Serves the Invoke API at `url`."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/2015-03-31/functions/{function}/invocations", self._invoke)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            for sandbox in list(self._all):
                await sandbox.stop()
            for task in list(self._tasks):
                await task
            await runner.cleanup()

    def publish(self, environment: Mapping[str, str]) -> str:
        """A new version, which differs in its environment; its ARN."""
        arn = ARN.format(name=self.name, version=len(self.versions) + 1)
        self.versions[arn] = environment
        return arn

    @property
    def frozen(self) -> bool:
        """Whether every process stands still."""
        return all(sandbox.frozen for sandbox in self._all)

    def idles(self, sandbox: Sandbox) -> None:
        """A process asks for work."""
        if sandbox.done >= self._lives:
            self._all.remove(sandbox)
            task = asyncio.ensure_future(sandbox.stop())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._start(sandbox.arn)
        elif (work := self._taken(sandbox.arn)) is not None:
            sandbox.invoke(work)
        else:
            self._idle.append(sandbox)

    def _taken(self, arn: str) -> Work | None:
        """What has waited for a version for longest; it waits no longer."""
        work = next((work for work in self._waiting if work.arn == arn), None)
        if work is not None:
            self._waiting.remove(work)
        return work

    def died(self, sandbox: Sandbox, work: Work | None) -> None:
        """A process is over. What it had to do has failed; one that did not get so far fails what it was started for."""
        if work is None and sandbox in self._all and not sandbox.done:
            work = self._taken(sandbox.arn)
        if sandbox in self._all:
            self._all.remove(sandbox)
        if sandbox in self._idle:
            self._idle.remove(sandbox)
        if work is not None and not work.answer.done():
            work.answer.set_result(failed(self.broken or '{"errorMessage": "the process ended", "errorType": "Runtime.ExitError"}'))
        self._start(sandbox.arn)

    async def _invoke(self, request: web.Request) -> web.Response:
        arn = request.match_info["function"]
        if arn not in self.versions:
            return web.json_response({"Message": f"Function not found: {arn}"}, status=404)
        self.invoked += 1
        work = Work(await request.read(), arn, asyncio.get_running_loop().create_future())
        idle = next((sandbox for sandbox in reversed(self._idle) if sandbox.arn == arn), None)
        if idle is not None:
            self._idle.remove(idle)
            idle.invoke(work)
        else:
            self._waiting.append(work)
            self._start(arn)
        return await work.answer

    def _start(self, arn: str) -> None:
        """Starts a process for what waits for a version."""
        if not any(work.arn == arn for work in self._waiting) or sum(sandbox.arn == arn for sandbox in self._all) >= AT_ONCE:
            return  # one of them takes what waits
        self.started += 1
        sandbox = Sandbox(self, arn)
        self._all.append(sandbox)
        task = asyncio.ensure_future(sandbox.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
