"""Posts events to services whose messages are of one library, in a process of its own, and prints what the handlers got.

python event_source.py FOLDER FLAVOUR MODE
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp

from restate_runtime import App

MODES: dict[str, dict[str, Any]] = {"default": {}, "always-suspend": {"always_suspend": True}}
HEADERS = {"key": "clé", "attribute-a": "1", "attribute-b": "ä"}


async def post(folder: Path, flavour: str, mode: str) -> dict[str, Any]:
    sys.path.insert(0, str(folder))
    rs: Any = importlib.import_module("sample.v1.events_restate" if flavour == "protobuf" else "gen.sample.v1.events_restate")

    class Feed(rs.FeedBase):
        async def read(self, ctx: Any, request: Any) -> Any:
            assert isinstance(request, rs.FEED.method("Read").request)
            ctx.set("seen", [ctx.key, request.feed, request.text, dict(request.about)])
            return request

        async def store(self, ctx: Any, request: Any) -> Any:
            return request

        async def take(self, ctx: Any, request: Any) -> Any:
            assert isinstance(request, rs.FEED.method("Take").request)
            return request

        async def ask(self, ctx: Any, request: Any) -> Any:
            return request

    class Stream(rs.StreamBase):
        async def take(self, ctx: Any, request: Any) -> Any:
            return request

    report: dict[str, Any] = {"library": next(base.__module__.partition(".")[0] for base in rs.FEED.method("Ask").request.__mro__[1:])}
    started = App(Feed(), Stream()).start(data_dir=folder / f"events-{mode}", ingress="127.0.0.1:0", **MODES[mode])
    async with started as runtime, aiohttp.ClientSession(runtime.ingress_url) as session:
        for path, body in (
            ("sample.v1.Feed/Read", "sun ☀".encode()),
            ("sample.v1.Feed/Read", b"\xff"),
            ("sample.v1.Feed/Store", b"\xff\x00"),
            ("sample.v1.Feed/Take", b"\xff\x00"),
            ("sample.v1.Feed/Ask", b"x"),
            ("sample.v1.Stream/Take", b"\xff\x00"),
        ):
            async with session.post(f"/{path}/event", data=body, headers=HEADERS) as response:
                answer = await response.json()
            if response.status == 202:
                async with session.get(f"/restate/invocation/{answer['invocationId']}/attach") as response:
                    answer = await response.json()
            report[f"{path} {body.hex()}"] = [response.status, answer]
        report["state"] = runtime.inspector.state("sample.v1.Feed", "clé")
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(post(Path(sys.argv[1]), sys.argv[2], sys.argv[3])), indent=1, sort_keys=True))
