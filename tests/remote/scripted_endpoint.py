"""An endpoint of Restate's Python SDK alone, whose handlers do what their request says. `python scripted_endpoint.py PORT [http1]`.

A request is a list of steps, a step is a list: the name of a function below, and its arguments. The response is a list of what the steps
gave. Futures are made by one step and awaited by another: they are known by the names that the steps give them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate
from restate import Context, RunOptions, Service, TerminalError, VirtualObject, Workflow
from restate.exceptions import RetryableError
from restate.serde import BytesSerde

RAW: Any = BytesSerde()
Steps = list[list[Any]]

_attempts: dict[str, int] = {}
"""How often something outside of the journal was done, by its name: gone with the process."""


def count(name: str) -> int:
    _attempts[name] = _attempts.get(name, 0) + 1
    return _attempts[name]


class Play:
    """One attempt of one request."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.futures: dict[str, Any] = {}
        self.results: list[Any] = []

    async def all(self, steps: Steps) -> list[Any]:
        for name, *arguments in steps:
            step: Callable[..., Awaitable[Any]] = getattr(self, f"do_{name}")
            result = await step(*arguments)
            if result is not None:
                self.results.append(result)
        return self.results

    # --- state

    async def do_get(self, name: str) -> Any:
        return [await self.ctx.get(name, type_hint=Any, entry_name=f"read {name}")]

    async def do_set(self, name: str, value: Any) -> None:
        self.ctx.set(name, value, entry_name=f"write {name}")

    async def do_clear(self, name: str) -> None:
        self.ctx.clear(name, entry_name=f"clear {name}")

    async def do_clear_all(self) -> None:
        self.ctx.clear_all(entry_name="clear all")

    async def do_keys(self) -> Any:
        return sorted(await self.ctx.state_keys(entry_name="keys"))

    # --- what is awaited later

    async def do_sleep(self, name: str, milliseconds: int) -> None:
        self.futures[name] = self.ctx.sleep(timedelta(milliseconds=milliseconds), name)

    async def do_awakeable(self, name: str) -> None:
        """Its id becomes a state, where others find it."""
        id, self.futures[name] = self.ctx.awakeable(type_hint=str)
        self.ctx.set(f"awakeable {name}", id)

    async def do_signal(self, name: str) -> None:
        self.futures[name] = self.ctx.signal(name, type_hint=str)

    async def do_run(self, name: str, value: Any) -> None:
        async def action() -> Any:
            count(name)
            await asyncio.sleep(0)
            return value

        self.futures[name] = self.ctx.run_typed(name, action, RunOptions(type_hint=Any))

    async def do_failing_run(self, name: str, times: int, most: int | None) -> None:
        """Fails so many times; terminally where it is to fail for ever."""

        def action() -> int:
            tries = count(name)
            if times < 0:
                raise TerminalError(f"{name} failed", status_code=412)
            if tries <= times:
                raise ValueError(f"{name}: try {tries}")
            return tries

        options: Any = RunOptions(type_hint=int, max_attempts=most, initial_retry_interval=timedelta(milliseconds=5))
        self.futures[name] = self.ctx.run_typed(name, action, options)

    async def do_call(self, name: str, target: list[Any], body: Any, idempotency_key: str | None = None) -> None:
        service, handler, key = target
        parameter = json.dumps(body).encode()
        self.futures[name] = self.ctx.generic_call(service, handler, parameter, key, idempotency_key, {"x-from": "call"})

    async def do_send(self, name: str, target: list[Any], body: Any, idempotency_key: str | None = None, delay_ms: int = 0) -> None:
        service, handler, key = target
        delay = timedelta(milliseconds=delay_ms) if delay_ms else None
        parameter = json.dumps(body).encode()
        self.futures[name] = self.ctx.generic_send(service, handler, parameter, key, delay, idempotency_key, {"x-from": "send"})

    async def do_attach(self, name: str, id: str) -> None:
        self.futures[name] = self.ctx.attach_invocation(id, RAW)

    async def do_promise(self, name: str) -> None:
        self.futures[name] = self.ctx.promise(name, type_hint=str).value()

    # --- waiting

    async def outcome(self, name: str) -> Any:
        try:
            value = await self.futures[name]
        except TerminalError as error:
            return ["failed", error.message, error.status_code]
        return json.loads(value) if isinstance(value, bytes) else value

    async def do_await(self, *names: str) -> Any:
        return [await self.outcome(name) for name in names]

    async def do_await_or_raise(self, name: str) -> Any:
        """The outcome of a future becomes the handler's own."""
        return [await self.futures[name]]

    async def do_all(self, *names: str) -> Any:
        await restate.gather(*(self.futures[name] for name in names))
        return [await self.outcome(name) for name in names]

    async def do_first(self, *names: str) -> Any:
        done, _ = await restate.wait_completed(*(self.futures[name] for name in names))
        return next(name for name in names if self.futures[name] is done[0])

    async def do_first_success(self, *names: str) -> Any:
        async for future in restate.as_completed(*(self.futures[name] for name in names)):
            name = next(name for name in names if self.futures[name] is future)
            outcome = await self.outcome(name)
            if not isinstance(outcome, list):
                return [name, outcome]
        return "none"

    async def do_id(self, name: str) -> Any:
        return await self.futures[name].invocation_id()

    async def do_publish_id(self, name: str) -> None:
        self.ctx.set(f"id {name}", await self.futures[name].invocation_id())

    async def do_publish_self(self) -> None:
        self.ctx.set("self", self.ctx.request().id)

    # --- others

    async def do_resolve(self, id: str, value: str) -> None:
        self.ctx.resolve_awakeable(id, value)

    async def do_reject(self, id: str, reason: str) -> None:
        self.ctx.reject_awakeable(id, reason, 409)

    async def do_resolve_signal(self, id: str, name: str, value: str) -> None:
        self.ctx.resolve_signal(id, name, value)

    async def do_reject_signal(self, id: str, name: str, reason: str) -> None:
        self.ctx.reject_signal(id, name, reason, 409)

    async def do_cancel(self, id: str) -> None:
        self.ctx.cancel_invocation(id)

    async def do_cancel_future(self, name: str) -> None:
        await self.futures[name].cancel_invocation()

    async def do_resolve_promise(self, name: str, value: str) -> Any:
        try:
            await self.ctx.promise(name, type_hint=str).resolve(value)
        except TerminalError as error:
            return ["failed", error.message, error.status_code]
        return "resolved"

    async def do_reject_promise(self, name: str, reason: str) -> None:
        await self.ctx.promise(name, type_hint=str).reject(reason, 409)

    async def do_peek(self, name: str) -> Any:
        try:
            return [await self.ctx.promise(name, type_hint=str).peek()]
        except TerminalError as error:
            return ["failed", error.message, error.status_code]

    # --- this invocation

    async def do_return(self, value: Any) -> Any:
        return value

    async def do_key(self) -> Any:
        return self.ctx.key()

    async def do_random(self) -> Any:
        return [str(self.ctx.uuid()), self.ctx.random().random()]

    async def do_request(self) -> Any:
        request = self.ctx.request()
        return {"id": request.id, "headers": request.headers}

    async def do_fail(self, message: str, code: int, metadata: dict[str, str] | None = None) -> None:
        raise TerminalError(message, status_code=code, metadata=metadata)

    async def do_fail_times(self, name: str, times: int) -> Any:
        tries = count(name)
        if tries <= times:
            raise ValueError(f"{name}: try {tries}")
        return tries

    async def do_retry_after(self, name: str, milliseconds: int) -> Any:
        tries = count(name)
        if tries == 1:
            raise RetryableError("later", retry_after=timedelta(milliseconds=milliseconds))
        return tries

    async def do_count(self, name: str) -> Any:
        """Reads a counter without the journal."""
        return _attempts.get(name, 0)

    async def do_differently(self, name: str, one: Steps, other: Steps) -> None:
        """Other steps in every attempt but the first."""
        await self.all(one if count(name) == 1 else other)


async def play(ctx: Any, steps: Steps) -> list[Any]:
    return await Play(ctx).all(steps)


script = Service("Script")
objects = VirtualObject("Objects")
lazy = VirtualObject("Lazy", enable_lazy_state=True)
process = Workflow("Process")


@script.handler("run")
async def run(ctx: Context, steps: Steps) -> list[Any]:
    return await play(ctx, steps)


@script.handler("echo", accept="*/*", content_type="application/octet-stream", input_serde=RAW, output_serde=RAW)
async def echo(ctx: Context, body: bytes) -> bytes:
    return body


for each in (objects, lazy):
    each.handler("run")(play)
    each.handler("look", kind="shared")(play)

process.main("run")(play)
process.handler("look")(play)


def main() -> None:
    http1 = sys.argv[2:] == ["http1"]
    app = restate.app(services=[script, objects, lazy, process], protocol="request_response" if http1 else "bidi")
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    if http1:
        config.alpn_protocols = ["http/1.1"]
    asyncio.run(hypercorn.asyncio.serve(app, config))


if __name__ == "__main__":
    main()
