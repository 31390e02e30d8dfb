"""Imports generated modules and uses everything in them; runs in a process of its own, since contracts of different cases clash.

python execute.py FOLDER MODULE...
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from datetime import timedelta
from typing import Any

import restate_runtime as restate
from restate_runtime.handler.client import OutgoingCall


class Recorder:
    """A caller that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[OutgoingCall] = []

    def begin_call(self, call: OutgoingCall) -> Any:
        self.calls.append(call)
        return call

    def begin_send(self, call: OutgoingCall) -> Any:
        self.calls.append(call)
        return call

    call = begin_call
    send = begin_send


def check_service(module: Any, service: restate.ServiceDescriptor) -> None:
    base, client = (
        next(value for name, value in vars(module).items() if name.endswith(suffix) and of(value, service, suffix))
        for suffix in ("Base", "Client")
    )
    assert service.abi == 1
    assert service.descriptor.full_name == service.name
    assert base.__restate_service__ is service
    assert base.__doc__
    assert client.__doc__
    if service.methods:
        try:
            base()
        except TypeError:
            pass
        else:
            raise AssertionError(f"{base} is not abstract")
    implementation = type("Implementation", (base,), {method.python_name: handler for method in service.methods})()
    assert isinstance(implementation, restate.Service)
    for method in service.methods:
        check_base(base, method)
        check_client(client, service, method)
    sync = getattr(module, client.__name__.removesuffix("Client") + "SyncClient", None)
    if sync is not None and issubclass(sync, restate.SyncClient):
        assert sync.__doc__
        for method in service.methods:
            check_sync_client(sync, method)
    if service.states:
        check_states(base.__restate_context__, service, restate.StateValue)
    else:
        assert base.__restate_context__ is None
    if service.states and any(method.shared for method in service.methods):
        check_states(base.__restate_shared_context__, service, restate.ReadOnlyStateValue)
    else:
        assert base.__restate_shared_context__ is None


def of(value: Any, service: restate.ServiceDescriptor, suffix: str) -> bool:
    stem = service.descriptor.name if not service.descriptor.name.startswith("_") else f"Service{service.descriptor.name}"
    return isinstance(value, type) and value.__name__ == f"{stem}{suffix}"


def contexts(module: Any, service: restate.ServiceDescriptor) -> list[str]:
    names = [f"{service.descriptor.name}Context", f"Shared{service.descriptor.name}Context"]
    return [name for name in names if service.states and name in module.__all__]


async def handler(self: Any, ctx: Any, request: Any = None) -> Any:
    return request


class Memory:
    """The part of an attempt that state goes through."""

    dead = False

    service = "a service"

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def get_state(self, name: str, read: Any) -> Any:
        return read(self.values.get(name))

    def set_state(self, name: str, value: Any) -> None:
        self.values[name] = value

    def clear_state(self, name: str) -> None:
        del self.values[name]


def check_states(context: Any, service: restate.ServiceDescriptor, wanted: Any) -> None:
    ctx = context(Memory())
    for state in service.states:
        value = getattr(ctx.state, state.python_name)
        assert type(value) is wanted
        assert result(value.get()) is None
        if wanted is restate.StateValue:
            value.set(state.type())
            assert result(value.get()) == state.type()
            assert list(ctx._invocation.values) == [state.name]
            value.clear()
            assert result(value.get()) is None


def result(awaitable: Any) -> Any:
    try:
        next(awaitable.__await__())
    except StopIteration as stop:
        return stop.value
    raise AssertionError("state is there at once")


def check_base(base: Any, method: restate.MethodDescriptor[Any, Any]) -> None:
    function = base.__dict__[method.python_name]
    assert inspect.iscoroutinefunction(function)
    assert function.__doc__
    assert list(inspect.signature(function).parameters) == ["self", "ctx"] + ([] if method.empty_request else ["request"])


def check_client(client_class: Any, service: restate.ServiceDescriptor, method: restate.MethodDescriptor[Any, Any]) -> None:
    recorder = Recorder()
    client = client_class(recorder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bound, again = (getattr(client, method.python_name) for _ in range(2))
    assert repr(bound) == repr(again)
    described = service.descriptor
    if not (described.GetOptions().deprecated or described.file.GetOptions().deprecated):  # then it is told once for all the service's rpcs
        assert [str(warning.message) for warning in told] == ([method.deprecated] if method.deprecated else [])
        assert all(warning.filename == __file__ for warning in told)
    assert type(bound) is (restate.EmptyMethod if method.empty_request else restate.Method)
    assert client_class.__dict__[method.python_name].__doc__
    assert method.descriptor.full_name == f"{service.name}.{method.name}"
    assert method.request_codec.full_name == method.descriptor.input_type.full_name
    assert method.response_codec.full_name == method.descriptor.output_type.full_name
    wire: Any = method.request_codec.wire()
    if method.key_field is not None:
        setattr(wire, method.key_field, "k")
    request = method.request_codec.decode(wire.SerializePartialToString())
    assert type(request) is method.request
    bound(*([] if method.empty_request else [request]), idempotency_key="i")
    (call,) = recorder.calls
    assert (call.service, call.method, call.key) == (service.name, method.name, "k" if method.key_field is not None else None)
    assert call.payload == wire.SerializePartialToString()
    assert method.request_codec.decode(call.payload) == request
    answer = call.decode_response(method.response_codec.wire().SerializePartialToString())
    assert (answer is None) if method.empty_response else isinstance(answer, method.response)


def check_sync_client(client_class: Any, method: restate.MethodDescriptor[Any, Any]) -> None:
    recorder = Recorder()
    bound = getattr(client_class(recorder), method.python_name)
    assert type(bound) is (restate.SyncEmptyMethod if method.empty_request else restate.SyncMethod)
    assert client_class.__dict__[method.python_name].__doc__
    request = method.request()
    if method.key_field is not None:
        setattr(request, method.key_field, "k")
    arguments = [] if method.empty_request else [request]
    bound(*arguments)
    bound.in_background(*arguments)
    bound.delayed(*arguments, delay=timedelta(seconds=1))
    assert [call.descriptor for call in recorder.calls] == [method] * 3
    assert [call.delay_ms for call in recorder.calls] == [0, 0, 1000]


def main(folder: str, modules: list[str]) -> None:
    sys.path.insert(0, folder)
    for name in modules:
        module = importlib.import_module(name)
        services = [value for value in vars(module).values() if isinstance(value, restate.ServiceDescriptor)]
        sync = any(isinstance(value, type) and issubclass(value, restate.SyncClient) for value in vars(module).values())
        assert len(module.__all__) == sum(3 + sync + 2 * len(contexts(module, service)) for service in services)
        assert all(hasattr(module, exported) for exported in module.__all__)
        for service in services:
            check_service(module, service)
        print(f"{name}: {' '.join(service.name for service in services)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
