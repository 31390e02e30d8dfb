"""Durable execution for services that are described by .proto contracts.

Everything a user needs is imported from here; names load on first use, so that `import restate_runtime` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import App as App
    from .codecs import MessageLibrary as MessageLibrary
    from .codecs import load_file as load_file
    from .connection import Connection as Connection
    from .connection import connect as connect
    from .deprecation import deprecated as deprecated
    from .descriptors import MethodDescriptor as MethodDescriptor
    from .descriptors import ServiceDescriptor as ServiceDescriptor
    from .descriptors import ServiceKind as ServiceKind
    from .descriptors import StateDescriptor as StateDescriptor
    from .engine.runtime import Runtime as Runtime
    from .errors import Code as Code
    from .errors import DeadlineExceeded as DeadlineExceeded
    from .errors import RuntimeFault as RuntimeFault
    from .errors import TerminalError as TerminalError
    from .handler.client import Caller as Caller
    from .handler.client import Client as Client
    from .handler.client import EmptyMethod as EmptyMethod
    from .handler.client import InvocationHandle as InvocationHandle
    from .handler.client import Method as Method
    from .handler.combinators import as_completed as as_completed
    from .handler.combinators import gather as gather
    from .handler.combinators import race as race
    from .handler.combinators import select as select
    from .handler.context import Context as Context
    from .handler.context import KeyedContext as KeyedContext
    from .handler.context import SharedKeyedContext as SharedKeyedContext
    from .handler.context import SharedSingletonContext as SharedSingletonContext
    from .handler.context import SingletonContext as SingletonContext
    from .handler.context import UnkeyedContext as UnkeyedContext
    from .handler.futures import Awakeable as Awakeable
    from .handler.futures import Call as Call
    from .handler.futures import DurableFuture as DurableFuture
    from .handler.service import Service as Service
    from .handler.state import ReadOnlyStateValue as ReadOnlyStateValue
    from .handler.state import State as State
    from .handler.state import StateValue as StateValue
    from .handler.sync_client import SyncCaller as SyncCaller
    from .handler.sync_client import SyncClient as SyncClient
    from .handler.sync_client import SyncEmptyMethod as SyncEmptyMethod
    from .handler.sync_client import SyncInvocationHandle as SyncInvocationHandle
    from .handler.sync_client import SyncMethod as SyncMethod
    from .retry import OnExhausted as OnExhausted
    from .retry import RetryOptions as RetryOptions
    from .retry import RetryPolicy as RetryPolicy
    from .serde import Serde as Serde
    from .serde import SerdeError as SerdeError
    from .sync_connection import SyncConnection as SyncConnection
    from .sync_connection import connect_sync as connect_sync

_HOME = {
    "App": "app",
    "Awakeable": "handler.futures",
    "Call": "handler.futures",
    "Caller": "handler.client",
    "Client": "handler.client",
    "Code": "errors",
    "Connection": "connection",
    "Context": "handler.context",
    "DeadlineExceeded": "errors",
    "DurableFuture": "handler.futures",
    "EmptyMethod": "handler.client",
    "InvocationHandle": "handler.client",
    "KeyedContext": "handler.context",
    "MessageLibrary": "codecs",
    "Method": "handler.client",
    "MethodDescriptor": "descriptors",
    "OnExhausted": "retry",
    "ReadOnlyStateValue": "handler.state",
    "RetryOptions": "retry",
    "RetryPolicy": "retry",
    "Runtime": "engine.runtime",
    "RuntimeFault": "errors",
    "Serde": "serde",
    "SerdeError": "serde",
    "Service": "handler.service",
    "ServiceDescriptor": "descriptors",
    "ServiceKind": "descriptors",
    "SharedKeyedContext": "handler.context",
    "SharedSingletonContext": "handler.context",
    "SingletonContext": "handler.context",
    "State": "handler.state",
    "StateDescriptor": "descriptors",
    "StateValue": "handler.state",
    "SyncCaller": "handler.sync_client",
    "SyncClient": "handler.sync_client",
    "SyncConnection": "sync_connection",
    "SyncEmptyMethod": "handler.sync_client",
    "SyncInvocationHandle": "handler.sync_client",
    "SyncMethod": "handler.sync_client",
    "TerminalError": "errors",
    "UnkeyedContext": "handler.context",
    "as_completed": "handler.combinators",
    "connect": "connection",
    "connect_sync": "sync_connection",
    "deprecated": "deprecation",
    "gather": "handler.combinators",
    "load_file": "codecs",
    "race": "handler.combinators",
    "select": "handler.combinators",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
