"""An App as a function of AWS Lambda, called by a Restate cluster or by an embedded runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from restate.aws_lambda import wrap_asgi_as_lambda_handler

from .endpoint import Endpoint, Hosted

__all__ = ["LambdaHandler", "lambda_handler"]

LambdaHandler = Callable[[Any, Any], Any]
"""Takes an event and a context of Lambda, and gives the answer's envelope."""

_CLEANING_S = 1.0


def lambda_handler(app: Hosted, *, identity_keys: Iterable[str] = ()) -> LambdaHandler:
    """A handler for AWS Lambda: `handler = lambda_handler(app)` in the module that the function's configuration names.

    Each of its invocations is one attempt, request and response: what it awaits and has no result yet suspends it, and the function is
    called again once there is one. Register the ARN of a version as a deployment, never `$LATEST`: what has begun has to find its code.

    Args:
        app: the services.
        identity_keys: public keys of the runtimes that may call, `publickeyv1_...`; without one everybody who may invoke the function.

    Raises:
        TypeError: it is no App, or one identity key in place of several.
        RuntimeFault: RT0107, a service that a cluster cannot host under its name; RT0002, an identity key that is none.
    """
    endpoint = Endpoint(app, identity_keys)

    async def one(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        await endpoint(scope, receive, send)
        # The process is frozen as soon as this returns: what a suspended handler does at its end is done before.
        await endpoint.host.cleaned_up(_CLEANING_S)

    handler: LambdaHandler = wrap_asgi_as_lambda_handler(one)
    return handler
