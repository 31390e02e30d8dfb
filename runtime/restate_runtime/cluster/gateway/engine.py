"""A cluster as an `Engine`: what the ingress and the admin API of this project are served on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...admin.registration import registration
from ...descriptors import ServiceKind
from ...engine.deployments import hosts_something_else
from ...engine.idempotency import kept_by_service
from ...engine.options import Options
from ...engine.protocol import Submission
from ...engine.registry import SINGLETON_KEY, Registry
from ...envelope import open_envelope, seal
from ...errors import Code, RuntimeFault, TerminalError
from ...handler.client import OutgoingCall
from ...serde import Value, same_settlement
from ...transcode import from_json, to_json
from ..ids import awaiting, check_invocation_id, own_key
from .client import Cluster, literal, part
from .discovery import Directory
from .inspector import STATUSES, ClusterInspector
from .nodes import Answer

__all__ = ["ClusterEngine"]

_PROTO = "application/proto"
_JSON = "application/json"
_PREVIOUSLY = "PreviouslyAccepted"
_NOT_READY = 470
_COMPLETED = 409
_ONCE = ("purge", "restart-as-new")


class Taken:
    """A call that the cluster has taken: it is durable there.

    Args:
        attach: begins to wait for the result, once somebody asks for it; `None` of a background call.
    """

    def __init__(self, id: str, attach: Callable[[str], asyncio.Future[bytes]] | None, *, attached: bool) -> None:
        self.invocation_id = id
        self.attached = attached
        self.on_disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_disk.set_result(None)
        self._attach = attach
        self._result: asyncio.Future[bytes] | None = None

    @property
    def result(self) -> asyncio.Future[bytes] | None:
        """The response; `None` of a background call."""
        if self._result is None and self._attach is not None:
            self._result = self._attach(self.invocation_id)
        return self._result


class ClusterEngine:
    """Implements `Engine` over a cluster's HTTP.

    Args:
        cluster: where everything happens.
        directory: what it hosts.
    """

    def __init__(self, cluster: Cluster, directory: Directory) -> None:
        self.options = Options()
        self.inspector = ClusterInspector(cluster, directory)
        self._cluster = cluster
        self._directory = directory
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._stopping = False

    @property
    def registry(self) -> Registry:
        """The services of the cluster, as they were when it was last asked."""
        return self._directory.registry

    async def refresh(self) -> None:
        """Asks the cluster for its services."""
        await self._directory.refresh()

    async def stop(self) -> None:
        """Whoever waits for the cluster gets a ConnectionError; what it has taken goes on there."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(self._unless_stopped(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except asyncio.CancelledError:
            if self._stopping:
                raise ConnectionError("the gateway is stopping; a retry under the same idempotency key is safe") from None
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone

    # --- calls

    def submit(self, call: OutgoingCall, *, background: bool) -> asyncio.Future[Submission]:
        """Sends a call to the cluster; done once it is durable there. Calls of one key arrive in the order of these.

        Raises:
            TerminalError: it is refused here.
        """
        method = self.registry.resolve(call.service, call.method)
        method.check_public()
        if call.retention_s is not None:
            raise kept_by_service()
        key, payload = (call.key, call.payload) if call.descriptor is not None else method.addressed(call.payload, call.key)
        if method.kind is ServiceKind.SINGLETON:
            key = SINGLETON_KEY
        path = "/restate/send/" + "/".join(part(item) for item in (call.service, key, call.method) if item is not None)
        if background and call.delay_ms:
            path += f"?delay={call.delay_ms}ms"
        headers = _headers(call)
        if method.descriptor is not None:
            as_json = self._directory.takes_json(call.service, call.method)
            headers["content-type"] = _JSON if as_json else _PROTO
            payload = to_json(method.parse(payload)) if as_json else payload
        # So that it can be sent again, and its result fetched. A workflow is its own: it runs once.
        if "idempotency-key" not in headers and not method.run_once:
            headers["idempotency-key"] = own_key()
        lane = None if key is None else (call.service, key)
        before = None if lane is None else self._last.get(lane)
        task = self._begin(self._send(path, payload, headers, background, before))
        if lane is not None:
            self._last[lane] = task
            task.add_done_callback(lambda task: self._last.pop(lane) if self._last.get(lane) is task else None)
        return task

    async def _send(
        self, path: str, payload: bytes, headers: dict[str, str], background: bool, before: asyncio.Task[Any] | None
    ) -> Submission:
        if before is not None and not before.done():
            await asyncio.wait([before])
        answer = await self._cluster.ingress("POST", path, payload, headers, repeatable="idempotency-key" in headers)
        accepted = answer.json()
        if not isinstance(accepted, dict) or "invocationId" not in accepted:
            raise ConnectionError("what answers at --cluster is no Restate cluster")
        id = str(accepted["invocationId"])
        return Taken(id, None if background else self.attach, attached=accepted.get("status") == _PREVIOUSLY)

    def attach(self, invocation_id: str) -> asyncio.Future[bytes]:
        """The result of an invocation, once there is one; whoever cancels it waits no longer."""
        return self._begin(self._result(invocation_id))

    async def _result(self, invocation_id: str) -> bytes:
        check_invocation_id(invocation_id)
        answer = await self._cluster.ingress("GET", f"/restate/invocation/{invocation_id}/attach")
        return await self._response(invocation_id, answer)

    async def output(self, invocation_id: str) -> bytes | None:
        """The result of a completed invocation, `None` while there is none."""
        check_invocation_id(invocation_id)
        answer = await self._cluster.ingress("GET", f"/restate/invocation/{invocation_id}/output")
        return None if answer.status == _NOT_READY else await self._response(invocation_id, answer)

    async def _response(self, invocation_id: str, answer: Answer) -> bytes:
        """The response as its caller expects it: of a method with a contract, binary protobuf."""
        # An endpoint of this project answers in the form in which it was asked, and labels everything as protobuf, of which no message
        # begins with a brace.
        if not (answer.headers.get("content-type", "").startswith(_JSON) or answer.body[:1] == b"{"):
            return answer.body
        service, name = await self.method_of(invocation_id)
        hosted = self.registry.services.get(service)
        method = None if hosted is None else hosted.methods.get(name)
        if method is None or method.descriptor is None:
            return answer.body
        return from_json(answer.body, method.descriptor.response_codec.wire).SerializeToString()

    # --- invocations

    async def method_of(self, invocation_id: str) -> tuple[str, str]:
        """Service and method of an invocation."""
        row = await self._row(invocation_id)
        return row["target_service_name"], row["target_handler_name"]

    async def status(self, invocation_id: str) -> str:
        """The status as the cluster says it, in this project's words."""
        status = str((await self._row(invocation_id))["status"])
        return STATUSES.get(status, status)

    async def _row(self, invocation_id: str) -> dict[str, Any]:
        check_invocation_id(invocation_id)
        columns = "target_service_name, target_handler_name, status"
        rows = await self._cluster.query(f"select {columns} from sys_invocation where id = {literal(invocation_id)}")
        if not rows:
            raise _unknown(invocation_id)
        return rows[0]

    async def cancel(self, invocation_id: str) -> None:
        """Asks an invocation to stop."""
        await self._change(invocation_id, "cancel", (_COMPLETED,))

    async def kill(self, invocation_id: str) -> None:
        """Ends an invocation."""
        await self._change(invocation_id, "kill", (_COMPLETED,))

    async def pause(self, invocation_id: str) -> None:
        """Takes a running or waiting invocation out of memory; the cluster does it as soon as it can."""
        if await self.status(invocation_id) != "paused":
            await self._change(invocation_id, "pause")

    async def resume(self, invocation_id: str) -> None:
        """Lets a paused or backing-off invocation try again now."""
        status = await self.status(invocation_id)
        if status not in ("paused", "backing-off"):
            raise TerminalError(f"the invocation {invocation_id} is {status}: only a paused one can be resumed", Code.FAILED_PRECONDITION)
        await self._change(invocation_id, "resume")

    async def purge(self, invocation_id: str) -> None:
        """Forgets a completed invocation."""
        await self._change(invocation_id, "purge")

    async def restart(self, invocation_id: str) -> str:
        """Makes a new invocation of a completed one's request."""
        status = await self.status(invocation_id)
        if status != "completed":
            raise TerminalError(f"the invocation {invocation_id} is {status}, not completed", Code.FAILED_PRECONDITION)
        return str((await self._change(invocation_id, "restart-as-new"))["new_invocation_id"])

    async def _change(self, invocation_id: str, verb: str, nothing_to_do: tuple[int, ...] = ()) -> Any:
        check_invocation_id(invocation_id)
        answer = await self._cluster.ask_admin("PATCH", f"/invocations/{invocation_id}/{verb}", repeatable=verb not in _ONCE)
        if answer.status == 404:
            raise _unknown(invocation_id)
        if answer.status >= 400 and answer.status not in nothing_to_do:
            raise self._cluster.refusal(answer)
        return answer.json()

    # --- awakeables

    async def settle_awakeable(self, awakeable_id: str, value: Value | None, reason: str | None = None) -> None:
        """Resolves or rejects an awakeable.

        Raises:
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
        """
        found = awaiting(awakeable_id)
        if found is None:
            raise TerminalError(f"there is no awakeable '{awakeable_id[:100]}'", Code.NOT_FOUND)
        service, completed, settled = await self._awakeable(awakeable_id, *found)
        verb = "reject" if value is None else "resolve"
        if value is None:
            body, kind = (reason or "").encode(), "text/plain"
        elif self._directory.sealed(service):
            body, kind = seal(value), "application/octet-stream"
        else:
            body, kind = value.data, "application/json" if value.tag == "json" else "application/octet-stream"
        if settled is None and completed:
            raise TerminalError(f"the awakeable {awakeable_id} belongs to an invocation that is completed", Code.NOT_FOUND)
        if settled is None:
            await self._cluster.ingress("POST", f"/restate/awakeables/{awakeable_id}/{verb}", body, {"content-type": kind})
        elif not _same(settled, verb, body):
            raise TerminalError(f"the awakeable {awakeable_id} was settled otherwise before", Code.ALREADY_EXISTS)

    async def _awakeable(self, awakeable_id: str, invocation_id: str, index: int) -> tuple[str, bool, tuple[str, bytes] | None]:
        """The service of its invocation, whether that is completed, and how it was settled."""
        rows = await self._cluster.query(f"select target_service_name, status from sys_invocation where id = {literal(invocation_id)}")
        if not rows:
            raise TerminalError(f"there is no awakeable '{awakeable_id}'", Code.NOT_FOUND)
        service = str(rows[0]["target_service_name"])
        return service, rows[0]["status"] == "completed", await self.inspector.settlement(invocation_id, index)

    # --- services and deployments

    async def set_public(self, service: str, public: bool | None) -> None:
        """Opens or closes a service to callers outside, at the cluster."""
        if public is None:
            raise TerminalError("a Restate cluster keeps no default to go back to: say public or private", Code.UNIMPLEMENTED)
        path = f"/services/{part(service)}"
        await self._cluster.admin("PATCH", path, {"public": public})
        await self._cluster.agree(path, lambda answer: answer.status != 200 or answer.json()["public"] is public)
        await self.refresh()
        hosted = self.registry.services.get(service)
        if public and hosted is not None and hosted.methods and all(method.private for method in hosted.methods.values()):
            raise TerminalError(f"{service} stays private: its endpoint says so, at the cluster nobody else can", Code.FAILED_PRECONDITION)

    async def register_deployment(self, url: str, *, force: bool = False, http1: bool = False) -> dict[str, Any]:
        """Registers an endpoint at the cluster, which has to reach it under this URL, or a function's version by its ARN."""
        status, found = await self._register(registration(url, force=force, http1=http1))
        id = found["id"]
        if status == 200 and not force:  # it is registered, and the cluster did not look at it again
            _, now = await self._register(registration(url, force=True, http1=http1) | {"dry_run": True})
            if _hosted(now) != _hosted(found):
                raise hosts_something_else(url, id)
        await self._cluster.agree(f"/deployments/{part(id)}", lambda answer: answer.status != 404)
        await self.refresh()
        row = next((row for row in await self.inspector.deployments() if row["id"] == id), None)
        if row is None:
            raise TerminalError(f"the deployment {id} has gone again", Code.NOT_FOUND)
        return row | {"created": status == 201 or force}  # with force it is read anew, and the cluster does not say what changed

    async def _register(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        answer = await self._cluster.ask_admin("POST", "/deployments", body)
        if answer.status in (404, 409):
            raise TerminalError(answer.message, Code.FAILED_PRECONDITION)
        if 400 <= answer.status <= 500:
            raise RuntimeFault("RT0601", answer.message)
        if answer.status > 500:
            raise self._cluster.refusal(answer)
        return answer.status, answer.json()

    async def remove_deployment(self, id: str, *, force: bool = False) -> None:
        """Forgets a deployment."""
        if not force:
            pinned = next((row["pinned_invocations"] for row in await self.inspector.deployments() if row["id"] == id), 0)
            if pinned:
                raise TerminalError(
                    f"{pinned} invocations began on the deployment {id} and are not completed: wait for them, or use force",
                    Code.FAILED_PRECONDITION,
                )
        path = f"/deployments/{part(id)}"
        await self._cluster.admin("DELETE", f"{path}?force=true")
        await self._cluster.agree(path, lambda answer: answer.status != 200)
        await self.refresh()


def _hosted(registered: Any) -> dict[str, Any]:
    """What an answer to a registration says of the endpoint itself; the rest is the cluster's, or set there."""
    return {
        service["name"]: (service["ty"], service.get("metadata"), {handler["name"]: handler.get("ty") for handler in service["handlers"]})
        for service in registered["services"]
    }


def _same(settled: tuple[str, bytes], verb: str, body: bytes) -> bool:
    if settled[0] != verb or verb == "reject":
        return settled == (verb, body)
    return same_settlement(open_envelope(settled[1]), open_envelope(body))


def _headers(call: OutgoingCall) -> dict[str, str]:
    headers = {name.lower(): value for name, value in (call.headers or {}).items()}
    if call.idempotency_key is not None:
        headers["idempotency-key"] = call.idempotency_key
    for name, value in headers.items():
        if not value.isascii():
            raise TerminalError(f"the header {name} is not ASCII, and a Restate cluster takes no other from outside", Code.INVALID_ARGUMENT)
    return headers


def _unknown(invocation_id: str) -> TerminalError:
    return TerminalError(f"there is no invocation {invocation_id}", Code.NOT_FOUND)
