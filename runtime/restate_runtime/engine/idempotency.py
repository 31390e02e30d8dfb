"""Idempotency keys: one invocation for one key, within service, method and key of the target."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from ..errors import Code, TerminalError
from ..handler.client import RETENTION
from ..journal.entries import Target

__all__ = [
    "REFUSED",
    "WORKFLOW_RUN",
    "Scope",
    "bytes_digest",
    "kept_by_service",
    "key_reused",
    "request_digest",
    "same_request",
    "started_before",
]

Scope = tuple[str, str, str, str]
"""Service, method, key of the target (empty where it has none), idempotency key."""

REFUSED = b""
"""The callee of a recorded call whose idempotency key belongs to another request."""

WORKFLOW_RUN = ""
"""The idempotency key of a workflow's run, which no caller can give: there is one for each key, as long as its result is kept."""


def request_digest(request: Message) -> bytes:
    """What a repeated request is compared by: the decoded message, serialized deterministically."""
    return bytes_digest(request.SerializeToString(deterministic=True))


def bytes_digest(request: bytes) -> bytes:
    """The same for a request that is no message here."""
    return hashlib.sha256(request).digest()[:16]


def same_request(before: bytes, now: bytes, payload: bytes) -> bool:
    """Whether a repeat has the first call's request.

    Args:
        before: the first one's digest; of its bytes, where it came before anybody knew its contract.
        now: the repeat's digest.
        payload: the repeat's bytes, as they were given.
    """
    return before == now or before == bytes_digest(payload)


def key_reused(idempotency_key: str | None, before: bytes = b"", now: bytes = b"") -> TerminalError:
    """The error for a key that comes with another request than before; with the digests of both where they are known."""
    digests = f": its digest was {before.hex()}, this one's is {now.hex()}" if before else ""
    return TerminalError(f"the idempotency key '{idempotency_key}' was used with another request before{digests}", Code.ALREADY_EXISTS)


def kept_by_service() -> TerminalError:
    """The error for a retention of one call, where a Restate cluster would have to keep to it."""
    return TerminalError(
        f"{RETENTION}: on a Restate cluster the service says how long a completed call is kept, not the call", Code.UNIMPLEMENTED
    )


def started_before(target: Target) -> TerminalError:
    """The error for a second run of a workflow."""
    return TerminalError(f"the workflow {target.service} '{target.key}' was started before", Code.ALREADY_EXISTS)
