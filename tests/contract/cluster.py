"""A real Restate server, and the suite's App as a deployment of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from restate_runtime import Call, Code, InvocationHandle, TerminalError
from restate_runtime.descriptors import ServiceKind, find_service
from restate_runtime.envelope import seal
from restate_runtime.handler.client import OutgoingCall
from restate_runtime.handler.outside import OutsideCall, OutsideHandle
from restate_runtime.serde import encode
from restate_runtime.statuses import code_of

from .endpoints import Served
from .engines import Outer, Running
from .server import Server, find_server
from .services import make_app

__all__ = ["ClusterEngine", "OnCluster"]

SINGLETON_KEY = "_"


class Cluster(Protocol):
    """Where a server is at the moment."""

    @property
    def ingress(self) -> str: ...

    @property
    def admin(self) -> str: ...


class ClusterCaller:
    """Makes calls straight at the cluster's own ingress, with the keys that a gateway would take from the messages."""

    def __init__(self, server: Cluster) -> None:
        self._server = server
        self._session = aiohttp.ClientSession()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._session.close()

    # --- Caller

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        source = self._begin(self._post("call", call, call.headers))
        outside: Any = OutsideCall(source, call.decode_response, timeout_s=call.timeout_s, what=f"{call.service}/{call.method}")
        return outside  # type: ignore[no-any-return]

    def begin_send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        async def accepted() -> str:
            return str(json.loads(await self._post("send", call, call.headers))["invocationId"])

        return OutsideHandle(self._begin(accepted()), self, call.decode_response)

    def _begin(self, coroutine: Any) -> Any:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _post(self, form: str, call: OutgoingCall, headers: Mapping[str, str] | None) -> bytes:
        service = find_service(call.service)
        key = call.key
        if key is None and service is not None and service.kind is ServiceKind.SINGLETON:
            key = SINGLETON_KEY
        parts = [call.service, *([quote(key, safe="")] if key is not None else []), call.method]
        url = f"{self._server.ingress}/restate/{form}/{'/'.join(parts)}" + (f"?delay={call.delay_ms}ms" if call.delay_ms else "")
        given = {"content-type": "application/proto"} | dict(headers or {})
        if call.idempotency_key is not None:
            given["idempotency-key"] = call.idempotency_key
        return await self._request("POST", url, call.payload, given)

    async def _request(self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        from yarl import URL

        async with self._session.request(method, URL(url, encoded=True), data=body, headers=headers) as response:
            data = await response.read()
            if response.status < 400:
                return data
            raise _error(response.status, data)

    # --- Reach

    async def result_of(self, invocation_id: str, decode: Any) -> Any:
        data = await self._request("GET", f"{self._server.ingress}/restate/invocation/{invocation_id}/attach")
        return data if decode is None else decode(data)

    async def status_of(self, invocation_id: str) -> str:
        query = json.dumps({"query": f"select status from sys_invocation where id = '{invocation_id}'"}).encode()
        headers = {"content-type": "application/json", "accept": "application/json"}
        rows = json.loads(await self._request("POST", f"{self._server.admin}/query", query, headers))["rows"]
        if not rows:
            raise TerminalError("there is no such invocation", Code.NOT_FOUND)
        status = str(rows[0]["status"])
        return "inboxed" if status == "pending" else status

    async def cancel_invocation(self, invocation_id: str) -> None:
        await self._request("PATCH", f"{self._server.admin}/invocations/{invocation_id}/cancel")

    async def kill_invocation(self, invocation_id: str) -> None:
        await self._request("PATCH", f"{self._server.admin}/invocations/{invocation_id}/kill")

    # --- Outer

    def invocation(self, id: str) -> InvocationHandle[Any]:
        known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        known.set_result(id)
        return OutsideHandle(known, self, lambda payload: payload)

    async def resolve_awakeable(self, id: str, value: object) -> None:
        body = seal(encode(value))
        await self._request(
            "POST", f"{self._server.ingress}/restate/awakeables/{id}/resolve", body, {"content-type": "application/octet-stream"}
        )

    async def reject_awakeable(self, id: str, reason: str) -> None:
        await self._request(
            "POST", f"{self._server.ingress}/restate/awakeables/{id}/reject", reason.encode(), {"content-type": "text/plain"}
        )

    async def end_everything(self) -> None:
        """Kills what a test left behind: its deployment is about to go."""
        query = json.dumps({"query": "select id from sys_invocation where status <> 'completed'"}).encode()
        headers = {"content-type": "application/json", "accept": "application/json"}
        for row in json.loads(await self._request("POST", f"{self._server.admin}/query", query, headers))["rows"]:
            with contextlib.suppress(TerminalError):
                await self.kill_invocation(row["id"])


def _error(status: int, data: bytes) -> Exception:
    try:
        body = json.loads(data)
        code = code_of(int(body.get("code", status)), str(body["message"]), body.get("metadata"))
    except (ValueError, KeyError, AttributeError):
        return ConnectionError(f"the cluster answered {status}: {data[:200]!r}")
    return TerminalError(str(body["message"]), code)


class OnCluster:
    """The suite's App at endpoints of this process, called past the gateway.

    Attributes:
        ingress_url, admin_url: the contract's, which only the gateway has.
        registered: ids of its deployments.
    """

    interrupted = False

    def __init__(self, server: Cluster, http_11: bool) -> None:
        self.ingress_url = self.admin_url = None
        self._server = server
        self._http_11 = http_11
        self._caller = ClusterCaller(server)
        self._served = [Served()]
        self.registered: list[str] = []

    @property
    def caller(self) -> Outer:
        return self._caller

    async def start(self) -> None:
        for served in self._served:
            await served.start()

    async def register(self) -> None:
        body = json.dumps({"uri": self._served[-1].url, "use_http_11": self._http_11}).encode()
        answer = await self._caller._request("POST", f"{self._server.admin}/deployments", body, {"content-type": "application/json"})
        self.registered.append(json.loads(answer)["id"])

    async def stop(self) -> None:
        for served in self._served:
            await served.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def release(self, name: str) -> None:
        await self.serve(name)
        await self.register()

    async def serve(self, name: str) -> str:
        """Starts a release, whose URL it gives."""
        self._served.append(Served(partial(make_app, name)))
        await self._served[-1].start()
        return self._served[-1].url

    async def close(self) -> None:
        """Leaves nothing behind: other tests have the same server."""
        await self._caller.end_everything()
        await self.stop()
        for deployment in self.registered:
            await self._caller._request("DELETE", f"{self._server.admin}/deployments/{deployment}?force=true")
        await self._caller.close()


class ClusterEngine:
    """A Restate server on one node.

    Args:
        name: of the engine.
        http_11: request and response: every wait that has no result yet is a suspension and a replay.
    """

    def __init__(self, name: str, http_11: bool = False) -> None:
        self.name = name
        self.server: Server | None = None
        self._http_11 = http_11

    def missing(self) -> str | None:
        return None if find_server() is not None else "no restate-server: `nox -s cluster_server` fetches one, or set RESTATE_SERVER"

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        assert self.server is not None, "the session's fixture starts it"
        running = OnCluster(self.server, self._http_11)
        await running.start()
        await running.register()
        try:
            yield running
        finally:
            await running.close()
