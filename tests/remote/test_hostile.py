"""Endpoints that do not keep to the service protocol: the invocation tells what is wrong, and the runtime goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from dev.restate import wire_pb2 as wire
from restate_runtime import Code, TerminalError
from restate_runtime.app import bare_app
from restate_runtime.engine.remote.frames import Frame, MessageType

from ..durability.harness import app, milliseconds, until, until_status
from .conftest import OPTIONS
from .hostile import Hostile, frames, hostile

T = MessageType
MOST = 2**64 - 1
SUCCESS = (T.OUTPUT, wire.OutputCommand(value=wire.Value(content=b"done")))
END = (T.END, wire.End())
DONE = frames(SUCCESS, END)
WAITS = (T.SUSPENSION, wire.Suspension(waiting_completions=[1], waiting_signals=[1]))
SLEEP = (T.SLEEP, wire.SleepCommand(wake_up_time=1, result_completion_id=1))


@asynccontextmanager
async def running(tmp_path: Path, endpoint: Hostile, **options: Any) -> AsyncIterator[Any]:
    async with bare_app().start(data_dir=tmp_path / "data", **{**OPTIONS, "retry_max_attempts": 2, **options}) as runtime:
        await runtime.register_deployment(endpoint.url, http1=True)
        yield runtime


def call(**fields: Any) -> tuple[MessageType, Any]:
    target = {"service_name": "S", "handler_name": "ok", **fields}
    return T.CALL, wire.CallCommand(**target, invocation_id_notification_idx=1, result_completion_id=2)


WRONG = {
    "nothing": (b"", "without a last message"),
    "half a header": (b"\0\0\0", "in the middle of another one, of which 3 bytes arrived"),
    "half a message": (frames(SUCCESS)[:-3], "in the middle of another one"),
    "unknown type": (b"\x7f\x01\0\0\0\0\0\0", "type 0x7f01, which is none of the service protocol's"),
    "custom": (b"\xfc\x01\0\0\0\0\0\0", "custom command"),
    "no protobuf": (b"\x04\x01\0\0\0\0\0\x04\xff\xff\xff\xff", "cannot be decoded"),
    "of the runtime": (frames((T.START, wire.Start())), "START from the wrong side"),
    "a notification": (frames((T.SLEEP_COMPLETION, wire.Notification(completion_id=1))), "from the wrong side"),
    "an input": (frames((T.INPUT, wire.InputCommand())), "INPUT from the wrong side"),
    "an end without output": (frames(END), "ended without an output"),
    "waits for nothing": (frames((T.SUSPENSION, wire.Suspension())), "waits for nothing"),
    "waits for what is not": (frames((T.SUSPENSION, wire.Suspension(waiting_completions=[7]))), "waits for [7]"),
    "an id twice": (frames(SLEEP, SLEEP, SUCCESS, END), "completion id 1 is taken"),
    "an id of 0": (frames((T.SLEEP, wire.SleepCommand(wake_up_time=1)), SUCCESS, END), "completion id 0 is taken, or none"),
    "a result of no effect": (
        frames((T.PROPOSE_RUN_COMPLETION, wire.ProposeRunCompletion(result_completion_id=5, value=b"x")), SUCCESS, END),
        "side effect 5 that is not running",
    ),
    "state of a service": (frames((T.SET_STATE, wire.SetStateCommand(key=b"a")), SUCCESS, END), "a change of state from S/"),
    "a promise of a service": (frames((T.GET_PROMISE, wire.GetPromiseCommand(key="a", result_completion_id=1)), SUCCESS, END), "no key"),
    "a scope": (frames(call(scope="s"), SUCCESS, END), "with a scope or limit key"),
    "no awakeable": (frames((T.COMPLETE_AWAKEABLE, wire.CompleteAwakeableCommand(awakeable_id="z")), SUCCESS, END), "no awakeable's id"),
    "no invocation": (frames((T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id="z", idx=1)), SUCCESS, END), "no invocation's id"),
    "a state without a name": (frames((T.SET_STATE, wire.SetStateCommand(key=b"\xff")), SUCCESS, END), "whose name is no text"),
    "an error": (frames((T.ERROR, wire.Error(code=2**32 - 1, message="broken\0"))), "broken"),
}


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    names = {f"h{n}": what for n, what in enumerate(WRONG)}
    async with (
        hostile({name: [WRONG[what][0]] for name, what in names.items()} | {"ok": [DONE]}) as endpoint,
        running(tmp_path, endpoint) as runtime,
    ):
        handles = {what: runtime.method(f"S/{name}").in_background(b"") for name, what in names.items()}
        for what, handle in handles.items():
            row = await until_status(runtime, await handle.invocation_id(), "paused")
            assert row["last_failure_error_code"] == "RT0302", what
            assert WRONG[what][1] in row["last_failure"]
        assert all(len(endpoint.attempts[name]) == 2 for name in names)
        assert await runtime.method("S/ok")(b"") == b"done"


async def test_moments_beyond_all_calendars(tmp_path: Path) -> None:
    """They are unsigned on the wire, and signed on disk."""
    sleep = frames((T.SLEEP, wire.SleepCommand(wake_up_time=MOST, result_completion_id=1)), WAITS)
    send = wire.OneWayCallCommand(service_name="S", handler_name="ok", invoke_time=MOST, invocation_id_notification_idx=1)
    answers = {
        "sleeps": [sleep],
        "sends": [frames((T.ONE_WAY_CALL, send), SUCCESS, END)],
        "retries": [frames((T.ERROR, wire.Error(code=500, message="much later", next_retry_delay=MOST)))],
        "ok": [DONE],
    }
    async with hostile(answers) as endpoint:
        async with running(tmp_path, endpoint) as runtime:
            assert await runtime.method("S/sends")(b"") == b"done"
            ids = {name: await runtime.method(f"S/{name}").in_background(b"").invocation_id() for name in ("sleeps", "retries")}
            await until_status(runtime, ids["sleeps"], "suspended")
            await until_status(runtime, ids["retries"], "backing-off")
            (row,) = [row for row in runtime.inspector.invocations(service="S") if row["target_handler_name"] == "ok"]
            assert row["status"] == "scheduled"
            assert await runtime.method("S/ok")(b"") == b"done"
            await runtime.invocation(ids["sleeps"]).cancel()
        async with running(tmp_path, endpoint) as runtime:  # all of it can be read again
            await until_status(runtime, ids["retries"], "backing-off")
            await runtime.invocation(ids["retries"]).kill()


async def test_behaviours_of_errors(tmp_path: Path) -> None:
    answers = {
        "pauses": [frames((T.ERROR, wire.Error(code=500, message="somebody look", behavior=wire.PAUSE))), DONE],
        "fails": [frames((T.ERROR, wire.Error(code=500, message="no use", behavior=wire.FAIL)))],
        "retries": [frames((T.ERROR, wire.Error(code=500, message="again", next_retry_delay=30, behavior=wire.RETRY))), DONE],
        "mismatch": [frames((T.ERROR, wire.Error(code=570, message="another", related_command_name="mine"))), DONE],
    }
    async with hostile(answers) as endpoint, running(tmp_path, endpoint) as runtime:
        for name, code in (("pauses", "RT0305"), ("mismatch", "RT0301")):
            handle = runtime.method(f"S/{name}").in_background(b"")
            row = await until_status(runtime, await handle.invocation_id(), "paused")
            assert row["last_failure_error_code"] == code
            assert len(endpoint.attempts[name]) == 1
            await runtime.resume(await handle.invocation_id())
            assert await handle.result() == b"done"
        with pytest.raises(TerminalError, match="no use") as raised:
            await runtime.method("S/fails")(b"")
        assert raised.value.code is Code.INTERNAL
        assert await runtime.method("S/retries")(b"") == b"done"


@pytest.mark.parametrize("code", [0, 99, 200, 404, 599, 600, 999, 2**32 - 1])
async def test_any_status_of_a_failure(tmp_path: Path, code: int) -> None:
    output = wire.OutputCommand(failure=wire.Failure(code=code, message="a\0b\n"))
    async with (
        hostile({"h": [frames((T.OUTPUT, output), END)]}) as endpoint,
        running(tmp_path, endpoint, ingress="127.0.0.1:0") as runtime,
        aiohttp.ClientSession() as session,
        session.post(f"{runtime.ingress_url}/restate/call/S/h", data=b"{}") as response,
    ):
        assert 400 <= response.status < 600
        assert (await response.json())["message"] == "a\0b\n"


async def test_a_message_that_is_too_long(tmp_path: Path) -> None:
    """It ends the invocation: trying again would come to the same. Nothing of it is kept in memory."""
    async with hostile({"h": [b"\x04\x01\0\0\xff\xff\xff\xff"], "ok": [DONE]}) as endpoint, running(tmp_path, endpoint) as runtime:
        with pytest.raises(TerminalError, match="OUTPUT of 4294967295 bytes: the limit is") as raised:
            await runtime.method("S/h")(b"")
        assert raised.value.code is Code.RESOURCE_EXHAUSTED
        assert await runtime.method("S/ok")(b"") == b"done"


async def test_what_comes_after_the_last_word(tmp_path: Path) -> None:
    async with (
        hostile({"bytes": [DONE + b"xyz"], "more": [frames(SUCCESS, END, SLEEP, END)]}) as endpoint,
        running(tmp_path, endpoint) as runtime,
    ):
        assert [await runtime.method(f"S/{name}")(b"") for name in ("bytes", "more")] == [b"done"] * 2


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (302, "answers with status 302"),
        (401, "another key of the runtime"),
        (404, "no such service or handler any more"),
        (415, "does not speak version 6"),
        (500, "answers with status 500"),
        (503, "answers with status 503: busy"),
    ],
)
async def test_refusals_are_waited_for(tmp_path: Path, status: int, text: str) -> None:
    """No handler has run: it is no attempt, and no number of them ends the invocation."""
    serves = asyncio.Event()

    async def refuse(request: web.Request, _: list[Frame]) -> web.Response:
        if serves.is_set():
            return web.Response(body=DONE, headers={"content-type": request.headers["content-type"]})
        return web.Response(status=status, body=b"busy", headers={"location": "/elsewhere"})

    async with hostile({"h": refuse}) as endpoint, running(tmp_path, endpoint, retry_max_interval=milliseconds(60)) as runtime:
        handle = runtime.method("S/h").in_background(b"")
        await until(lambda: len(endpoint.attempts.get("h", ())) > 5)
        row = await until_status(runtime, await handle.invocation_id(), "backing-off")
        assert text in row["last_failure"]
        assert row["retry_count"] == 0
        serves.set()
        assert await handle.result() == b"done"


async def test_one_that_never_answers(tmp_path: Path) -> None:
    """It takes the request, or sends a part of its response, and no more: it is cut off."""
    stuck = asyncio.Event()

    async def nothing(_: web.Request, __: list[Frame]) -> web.Response:
        await stuck.wait()
        return web.Response()

    async def a_part(request: web.Request, _: list[Frame]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": request.headers["content-type"]})
        await response.prepare(request)
        await response.write(frames(SUCCESS)[:5])
        await stuck.wait()
        return response

    times = {"inactivity_timeout": milliseconds(20), "abort_timeout": milliseconds(80)}
    async with hostile({"nothing": nothing, "part": a_part, "ok": [DONE]}) as endpoint, running(tmp_path, endpoint, **times) as runtime:
        for name in ("nothing", "part"):
            id = await runtime.method(f"S/{name}").in_background(b"").invocation_id()
            row = await until_status(runtime, id, "paused")
            assert "abort_timeout" in row["last_failure"]
            assert len(endpoint.attempts[name]) == 2
        assert await runtime.method("S/ok")(b"") == b"done"
        stuck.set()


async def test_thousands_of_attempts_leave_nothing_behind(tmp_path: Path) -> None:
    """Neither files nor tasks nor memory."""
    broken = frames((T.ERROR, wire.Error(code=500, message="broken", next_retry_delay=1)))
    answers = {"fails": [broken], "lost": [b"\0"], "ok": [DONE]}
    async with (
        hostile(answers) as endpoint,
        running(tmp_path, endpoint, retry_max_attempts=10**6, retry_max_interval=timedelta(milliseconds=1)) as runtime,
    ):

        async def some(count: int) -> tuple[int, int]:
            for _ in range(count // 20):
                assert await asyncio.gather(*(runtime.method("S/ok")(b"") for _ in range(20))) == [b"done"] * 20
            await until(lambda: all(len(endpoint.attempts.get(name, ())) >= count for name in ("fails", "lost")))
            for attempts in endpoint.attempts.values():
                attempts.clear()
            gc.collect()
            return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0, len(asyncio.all_tasks())

        handles = [runtime.method(f"S/{name}").in_background(b"") for name in ("fails", "lost")]
        before = await some(100)
        after = await some(400)
        assert after[0] <= before[0] + 5
        assert after[1] <= before[1] + 5
        for handle in handles:
            await handle.kill()


async def test_without_a_conversation_the_time_until_it_is_asked_counts_too(tmp_path: Path) -> None:
    """Over HTTP/1.1 nobody is asked to suspend: what runs for longer than abort_timeout is not stuck."""

    async def slow(request: web.Request, _: list[Frame]) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(body=DONE, headers={"content-type": request.headers["content-type"]})

    times = {"inactivity_timeout": milliseconds(60_000), "abort_timeout": milliseconds(20)}
    async with hostile({"slow": slow}) as endpoint, running(tmp_path, endpoint, **times) as runtime:
        assert await runtime.method("S/slow")(b"") == b"done"
        assert len(endpoint.attempts["slow"]) == 1


@pytest.mark.parametrize(
    ("type", "sent"),
    [("application/json; charset=utf-8", "application/json; charset=utf-8"), ("text/x\r\ny: z", "application/octet-stream")],
)
async def test_content_types_of_responses(tmp_path: Path, type: str, sent: str) -> None:
    async with hostile({"ok": [DONE]}) as endpoint:
        for service in endpoint.manifest["services"]:
            service["handlers"] = [{"name": "ok", "output": {"contentType": type}}]
        async with running(tmp_path, endpoint, ingress="127.0.0.1:0") as runtime, aiohttp.ClientSession(runtime.ingress_url) as session:
            async with session.post("/restate/call/S/ok") as response:
                assert (response.status, response.headers["content-type"], await response.read()) == (200, sent, b"done")
            async with session.post("/restate/send/S/ok") as response:
                id = (await response.json())["invocationId"]
            async with session.get(f"/restate/invocation/{id}/attach") as response:
                assert (response.status, response.headers["content-type"]) == (200, sent)


@pytest.mark.rule("R34")
@pytest.mark.parametrize("verb", ["resolve", "reject"])
async def test_an_awakeable_that_an_sdk_has_settled_is_settled_once_more(tmp_path: Path, verb: str) -> None:
    """In bytes, or with a code of its own: what counts is what was said."""
    given: dict[str, str] = {}

    async def waits(ctx: Any, _: str) -> str:
        awakeable = ctx.awakeable(str)
        given["id"] = awakeable.id
        return await awakeable

    async def settles(request: web.Request, _: list[Frame]) -> web.Response:
        result = {"value": wire.Value(content=b'"no"')} if verb == "resolve" else {"failure": wire.Failure(code=500, message="no")}
        command = wire.CompleteAwakeableCommand(awakeable_id=given["id"], **result)
        body = frames((T.COMPLETE_AWAKEABLE, command), SUCCESS, END)
        return web.Response(body=body, headers={"content-type": request.headers["content-type"]})

    async with hostile({"settles": settles}) as endpoint, app(waits).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await runtime.register_deployment(endpoint.url, http1=True)
        waiting = EchoClient(runtime).script.in_background(Text(text=""))
        await until(lambda: "id" in given)
        assert await runtime.method("S/settles")(b"") == b"done"
        settle: Any = runtime.resolve_awakeable if verb == "resolve" else runtime.reject_awakeable
        await settle(given["id"], "no")
        with pytest.raises(TerminalError) as caught:
            await settle(given["id"], "yes")
        assert caught.value.code is Code.ALREADY_EXISTS
        with contextlib.suppress(TerminalError):
            assert (await waiting.result()).text == "no"
