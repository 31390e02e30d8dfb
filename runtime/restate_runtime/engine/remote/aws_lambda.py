"""Request and response through AWS Lambda's Invoke API: the same frames, in an envelope of JSON.

Needs the extra `cluster`. Region, credentials and a custom endpoint (`AWS_ENDPOINT_URL_LAMBDA`) are found as AWS's own tools find them.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import importlib
import json
from collections.abc import Mapping
from typing import Any

from ..threads import DaemonPool
from .exchange import Exchange, Sink
from .transport import Address, EndpointError, Problem

__all__ = ["LambdaTransport"]

_AT_ONCE = 64  # invocations of functions: each holds a thread, as botocore waits in one
_LONGEST_S = 900  # of a function, by AWS's own limit


class LambdaExchange:
    """`exchange.Exchange` that invokes the function once the request is complete."""

    def __init__(self, transport: LambdaTransport, address: Address, request: dict[str, Any], sink: Sink) -> None:
        self._transport = transport
        self._address = address
        self._request = request
        self._sink = sink
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._aborted = False

    @property
    def pending(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self._body += data

    def end(self) -> None:
        if self._task is None and not self._aborted:
            self._task = asyncio.ensure_future(self._run())

    def abort(self) -> None:
        self._aborted = True  # what the function does cannot be stopped; nobody hears of it any more
        self._body.clear()
        if self._task is not None:
            self._task.cancel()  # where it still waits for a thread, it is not invoked

    def credit(self, size: int) -> None:
        pass

    async def _run(self) -> None:
        body, self._body = base64.b64encode(self._body).decode(), bytearray()
        payload = json.dumps({**self._request, "body": body, "isBase64Encoded": True}).encode()
        try:
            answer = await self._transport.invoke(self._address, payload)
            status, headers, data = _read(self._address.url, answer)
        except EndpointError as error:
            self._sink.failed(error)
            return
        except Exception as error:  # botocore's settings and credentials come from anywhere, and fail in any way
            text = f"{self._address.url} cannot be invoked: {type(error).__name__}: {_line(error)}"
            self._sink.failed(EndpointError(Problem.UNREACHABLE, text))
            return
        self._sink.head(status, headers)
        self._sink.data(data)
        if not self._aborted:
            self._sink.end()


class LambdaTransport:
    """`exchange.Transport` to functions of AWS Lambda."""

    bidirectional = False

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._threads: DaemonPool | None = None
        self._closed = False

    async def start(self, address: Address, method: str, path: str, headers: Mapping[str, str], sink: Sink) -> Exchange:
        return LambdaExchange(self, address, {"path": path, "httpMethod": method, "headers": dict(headers)}, sink)

    async def invoke(self, address: Address, payload: bytes) -> Mapping[str, Any]:
        """What the function answered.

        Raises:
            EndpointError: it could not be asked, or failed.
        """
        if self._closed:
            raise EndpointError(Problem.LOST, f"{address.url}: the runtime is stopping")
        if self._threads is None:
            self._threads = DaemonPool(_AT_ONCE, "restate-lambda")  # a function that runs on must not keep the process
        answer: Mapping[str, Any] = await self._threads.run(contextvars.copy_context(), lambda: self._invoke(address, payload))
        return answer

    async def close(self) -> None:
        self._closed = True
        if self._threads is not None:
            self._threads.close()
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _invoke(self, address: Address, payload: bytes) -> Mapping[str, Any]:
        exceptions = _botocore(address.url).exceptions
        try:
            answer = self._client(address).invoke(FunctionName=address.url, Payload=payload)
            content: bytes = answer["Payload"].read()
        except (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError, exceptions.NoCredentialsError) as error:
            raise EndpointError(Problem.UNREACHABLE, f"{address.url} cannot be reached: {_line(error)}") from None
        except exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            raise EndpointError(Problem.REFUSED, f"{address.url} cannot be invoked: {_line(error)}", status) from None
        except exceptions.BotoCoreError as error:
            raise EndpointError(Problem.LOST, f"{address.url} does not answer: {_line(error)}") from None
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if "FunctionError" in answer:
            text = found.get("errorMessage", "") if isinstance(found, dict) else ""
            raise EndpointError(Problem.LOST, f"{address.url} failed: {' '.join(str(text).split())[:200] or answer['FunctionError']}")
        if not isinstance(found, dict):
            raise EndpointError(Problem.PROTOCOL, f"{address.url} is no service endpoint: it does not answer with an object")
        return found

    def _client(self, address: Address) -> Any:
        region = address.url.split(":")[3]
        if region not in self._clients:
            botocore = _botocore(address.url)
            # One try each: what is tried again, and when, is decided by the runtime's own policy.
            config = botocore.config.Config(
                max_pool_connections=_AT_ONCE, read_timeout=_LONGEST_S, connect_timeout=10, retries={"total_max_attempts": 1}
            )
            self._clients[region] = botocore.session.get_session().create_client("lambda", region_name=region, config=config)
        return self._clients[region]


def _botocore(where: str) -> Any:
    try:
        for name in ("config", "exceptions", "session"):
            importlib.import_module(f"botocore.{name}")
    except ImportError:
        text = "is a function of AWS Lambda, which needs botocore: pip install 'protoc-gen-restate[cluster]'"
        raise EndpointError(Problem.UNREACHABLE, f"{where} {text}") from None
    return importlib.import_module("botocore")


def _read(where: str, answer: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
    status, headers, body = answer.get("statusCode"), answer.get("headers") or {}, answer.get("body") or ""
    if not isinstance(status, int) or not isinstance(headers, dict) or not isinstance(body, str):
        raise EndpointError(Problem.PROTOCOL, f"{where} is no service endpoint: its answer has no status, headers and body")
    try:
        data = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    except ValueError:
        raise EndpointError(Problem.PROTOCOL, f"{where} answers with a body that is no base64") from None
    return status, {str(name).lower(): str(value) for name, value in headers.items()}, data


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
