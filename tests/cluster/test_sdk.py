"""restate-sdk's inside, as far as it is used: this fails before anything else when a release changes it."""

from __future__ import annotations

import importlib
import inspect

import pytest

from restate_runtime.cluster.machine import SDK_USED

SIGNATURES = {
    "do_progress": ["unresolved_future"],
    "propose_run_completion_transient": ["handle", "failure", "attempt_duration_ms", "config"],
    "sys_call": ["service", "handler", "parameter", "key", "idempotency_key", "headers", "scope", "limit_key"],
    "sys_send": ["service", "handler", "parameter", "key", "delay", "idempotency_key", "headers", "scope", "limit_key"],
    "sys_sleep": ["millis", "name"],
    "sys_run": ["name"],
    "take_notification": ["handle"],
}


@pytest.mark.parametrize("path", SDK_USED)
def test_what_is_used_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert [used for used in SDK_USED[path] if not callable(getattr(found, used, None))] == []


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_machine_takes_what_it_is_given(name: str) -> None:
    machine = importlib.import_module("restate.vm").VMWrapper
    assert [*inspect.signature(getattr(machine, name)).parameters][1:] == SIGNATURES[name]


def test_a_handler_says_its_content_types_where_they_are_changed() -> None:
    io = importlib.import_module("restate.handler").HandlerIO
    assert {"accept", "content_type", "input_type", "output_type"} <= set(inspect.signature(io).parameters)
