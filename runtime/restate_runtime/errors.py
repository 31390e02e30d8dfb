"""What can go wrong: outcomes that callers see, and faults that stop a runtime.

Two families that never mix:

* An **outcome** ends an invocation: `TerminalError`, with a status code of gRPC.
* A **fault** says that something could not be done at all: `RuntimeFault`, with a code `RTnnnn` of this project
  (`restate-runtime explain CODE`).
"""

from __future__ import annotations

import enum
from typing import ClassVar

__all__ = ["Code", "DeadlineExceeded", "RuntimeFault", "TerminalError"]


class Code(enum.Enum):
    """gRPC's status codes; the names and numbers are those of google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class TerminalError(Exception):
    """Ends an invocation for good; its callers get the same error.

    Args:
        message: what went wrong, for the caller; an exception stands for its text.
        code: the status code of gRPC; not `Code.OK`.

    Raises:
        TypeError: the code is no `Code`.
        ValueError: the code is `Code.OK`.
    """

    def __init__(self, message: str | BaseException, code: Code = Code.INTERNAL) -> None:
        if not isinstance(message, str):
            message = str(message)
        super().__init__(message)
        if not isinstance(code, Code):  # pyright: ignore[reportUnnecessaryIsInstance] - a handler may not be type checked
            raise TypeError(f"a TerminalError carries a Code, not a {type(code).__name__}")
        if code is Code.OK:
            raise ValueError("a TerminalError cannot carry Code.OK")
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code})"

    def __eq__(self, other: object) -> bool:
        """Errors are equal by code and message, so that a replayed one equals the first."""
        return isinstance(other, TerminalError) and (self.message, self.code) == (other.message, other.code)

    def __hash__(self) -> int:
        return hash((self.message, self.code))


class DeadlineExceeded(TerminalError):
    """Raised by `or_timeout` when the time is over; what was awaited goes on."""

    def __init__(self, message: str = "the time is over") -> None:
        super().__init__(message, Code.DEADLINE_EXCEEDED)


class RuntimeFault(Exception):
    """Something about the runtime itself: its options, its data directory, the code that it hosts.

    `code` names an entry of `restate_runtime.faults`.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"
