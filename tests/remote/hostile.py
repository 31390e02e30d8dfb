"""An endpoint that says whatever a test wants: a server of HTTP/1.1 with a manifest, and bytes for answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from restate_runtime.engine.remote.frames import FROM_RUNTIME, Frame, FrameReader, MessageType

__all__ = ["Hostile", "frames", "hostile"]

_MANIFEST = "application/vnd.restate.endpointmanifest.v4+json"
Answer = Callable[[web.Request, list[Frame]], Awaitable[web.StreamResponse]]


def frames(*messages: tuple[MessageType, Any]) -> bytes:
    """What an endpoint sends."""
    return b"".join(Frame(type, message).encode() for type, message in messages)


@dataclass
class Hostile:
    """The endpoint.

    Attributes:
        answers: for each handler of the service `S`, the bytes of each of its responses in turn, of which the last is given again; or
            a function that answers.
        attempts: of each handler, what it was sent.
    """

    answers: Mapping[str, list[bytes] | Answer]
    url: str = ""
    attempts: dict[str, list[list[Frame]]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        handlers = [{"name": name} for name in self.answers]
        services = [
            {"name": "S", "ty": "SERVICE", "handlers": handlers},
            {"name": "O", "ty": "VIRTUAL_OBJECT", "handlers": handlers},
        ]
        self.manifest = {"protocolMode": "REQUEST_RESPONSE", "minProtocolVersion": 5, "maxProtocolVersion": 7, "services": services}

    async def discover(self, _: web.Request) -> web.Response:
        return web.Response(body=json.dumps(self.manifest).encode(), content_type=_MANIFEST)

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        handler = request.match_info["handler"]
        sent = FrameReader(FROM_RUNTIME, 1 << 24).feed(await request.read())
        attempts = self.attempts.setdefault(handler, [])
        attempts.append(sent)
        answer = self.answers[handler]
        if callable(answer):
            return await answer(request, sent)
        body = answer[min(len(attempts), len(answer)) - 1]
        return web.Response(body=body, headers={"content-type": request.headers["content-type"]})


@asynccontextmanager
async def hostile(answers: Mapping[str, list[bytes] | Answer]) -> AsyncIterator[Hostile]:
    """Serves it."""
    endpoint = Hostile(answers)
    app = web.Application()
    app.router.add_get("/discover", endpoint.discover)
    app.router.add_post("/invoke/{service}/{handler}", endpoint.invoke)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield endpoint
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
