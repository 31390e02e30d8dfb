"""An App as a deployment of a Restate cluster."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from restate import InvocationRetryPolicy, JournalValueCodec, Service, VirtualObject
from restate import app as restate_app
from restate.handler import TypeHint
from restate.serde import BytesSerde

from ..descriptor_set import METADATA, pack
from ..descriptors import ServiceKind
from ..engine.registry import BoundMethod, HostedService, Privacy, Registry
from ..errors import RuntimeFault
from ..retry import INVOCATION_RETRY, OnExhausted, RetryPolicy
from .closing import Closing
from .host import PROTO, Host
from .opening import Opening, current_opening

__all__ = ["Endpoint", "Hosted", "endpoint"]

_NO_BOUND = 2**31 - 1
_FUNCTION = "AWS_LAMBDA_FUNCTION_NAME"


class Hosted(Protocol):
    """An `App`, as far as an endpoint needs it."""

    registry: Registry


class _AsTheyAre(JournalValueCodec):
    """Leaves values as they are. With a codec the SDK compares no values on a replay: one that differs, as the bytes of a map may from
    process to process, is no mismatch."""

    def encode(self, buf: bytes) -> bytes:
        return buf

    async def decode(self, buf: bytes) -> bytes:
        return buf


class Endpoint:
    """An ASGI application; `stop` suspends what runs."""

    def __init__(self, app: Hosted, identity_keys: Iterable[str] = (), dev: bool = False) -> None:
        if not isinstance(getattr(app, "registry", None), Registry):
            raise TypeError(f"an endpoint hosts an App, not a {type(app).__name__}")
        if isinstance(identity_keys, (str, bytes)):
            raise TypeError(f"identity_keys is a list of public keys, not a {type(identity_keys).__name__}: write [...] around the one")
        self.host = Host(app.registry, dev)
        services = [_service(self.host, service) for service in app.registry.services.values()]
        self._asgi: Any = _asgi(services, [key.strip() for key in identity_keys])  # a file has a newline at its end

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        opening = Opening(receive)
        current_opening.set(opening)
        await self._asgi(scope, opening.receive, Closing(send).send)

    async def stop(self, timeout_s: float) -> None:
        """Suspends the handlers that wait, and gives the others some time to end."""
        await self.host.stop(timeout_s)


def endpoint(app: Hosted, *, identity_keys: Iterable[str] = (), dev: bool = False) -> Endpoint:
    """An ASGI application that hosts the App's services for a Restate cluster, or for an embedded runtime.

    Serve it with any ASGI server: over HTTP/2 (h2c) the connection goes both ways, over HTTP/1.1 it is request and response. Then register
    its URL as a deployment.

    Args:
        app: the services.
        identity_keys: public keys of the runtimes that may call, `publickeyv1_...`; without one anybody may.
        dev: report what does not belong in a handler, such as awaiting something foreign.

    Raises:
        TypeError: it is no App, or one identity key in place of several.
        RuntimeFault: RT0107, a service that a cluster cannot host under its name; RT0002, an identity key that is none.
    """
    return Endpoint(app, identity_keys, dev)


def _asgi(services: list[Any], identity_keys: list[str]) -> Any:
    # In a function of AWS Lambda the SDK would make its adapter for it instead; ours goes around all of this (aws_lambda.py).
    function = os.environ.pop(_FUNCTION, None)
    try:
        return restate_app(services, identity_keys=identity_keys, journal_value_codec=_AsTheyAre())
    except Exception as error:  # the SDK's IdentityKeyException, which has no public name
        if not identity_keys:
            raise
        raise RuntimeFault("RT0002", f"an identity key is a runtime's public key, publickeyv1_...: {error}") from None
    finally:
        if function is not None:
            os.environ[_FUNCTION] = function


async def _lifespan(receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _service(host: Host, service: HostedService) -> Any:
    descriptor = service.descriptor
    assert descriptor is not None
    if descriptor.name.lower().startswith("restate") or descriptor.name == "openapi":
        raise RuntimeFault(
            "RT0107", f"a Restate cluster cannot host '{descriptor.name}': it keeps 'openapi' and names that begin with 'restate' to itself"
        )
    keyed = descriptor.kind is not ServiceKind.UNKEYED
    made = (VirtualObject if keyed else Service)(
        descriptor.name,
        description=descriptor.comments or None,
        metadata={METADATA: pack([descriptor])},
    )
    for method in service.methods.values():
        assert isinstance(method, BoundMethod)
        _bind(host, made, method, keyed)
    return made


def _bind(host: Host, made: Any, bound: BoundMethod, keyed: bool) -> None:
    descriptor = bound.descriptor

    async def invoke(context: Any, body: bytes) -> bytes:
        return await host.invoke(bound, context, body)

    invoke.__name__ = descriptor.name
    invoke.__doc__ = descriptor.comments or None
    options: dict[str, Any] = {"kind": "shared" if descriptor.shared else "exclusive"} if keyed else {}
    made.handler(
        descriptor.name,
        accept="*/*",
        content_type=PROTO,
        input_serde=BytesSerde(),
        output_serde=BytesSerde(),
        inactivity_timeout=bound.inactivity_timeout,
        journal_retention=bound.retention,
        idempotency_retention=bound.retention,
        ingress_private=bound.privacy is not Privacy.OPEN,
        invocation_retry_policy=_retry(bound.policy(INVOCATION_RETRY)),
        **options,
    )(invoke)
    io = made.handlers[descriptor.name].handler_io
    # With a schema the cluster refuses an empty body, which is a message with every field at its default.
    io.input_type = TypeHint(annotation=None)
    io.output_type = TypeHint(annotation=None)


def _retry(policy: RetryPolicy) -> Any:
    return InvocationRetryPolicy(
        initial_interval=policy.initial_interval,
        exponentiation_factor=policy.factor,
        max_interval=policy.max_interval,
        max_attempts=_NO_BOUND if policy.max_attempts is None else policy.max_attempts,
        on_max_attempts="kill" if policy.on_exhausted is OnExhausted.FAIL else "pause",
    )
