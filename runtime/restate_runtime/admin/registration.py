"""What registers a deployment, in the words of Restate's admin API: an endpoint's URL, or the ARN of a function's version."""

from __future__ import annotations

from typing import Any

__all__ = ["registration"]

_ARN = "arn:"


def registration(target: str, *, force: bool, http1: bool) -> dict[str, Any]:
    """The body of `POST /deployments`.

    Args:
        target: URL or ARN.
        force: replace what was registered there.
        http1: speak HTTP/1.1 to a URL.
    """
    if target.startswith(_ARN):
        return {"arn": target, "force": force}
    return {"uri": target, "force": force} | ({"use_http_11": True} if http1 else {})
