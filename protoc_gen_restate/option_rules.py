"""Rules about `dev/restate/options.proto` and the annotations of Restate's Go plugin; their codes are in the table of `lint`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from .model import CallOptions, Contract, Location, Method, Service, ServiceKind, StateEntry

__all__ = ["class_twice", "contradiction", "go_types", "kind_of_options", "state_names", "state_types", "values"]

Problem = tuple[Location, str]

_LONGEST = timedelta(days=3_652_500)  # protobuf's own bound on a Duration


def _services(contract: Contract) -> Iterator[Service]:
    return (service for file in contract.files for service in file.services)


def _methods(contract: Contract) -> Iterator[tuple[Service, Method]]:
    return ((service, method) for service in _services(contract) for method in service.methods)


def kind_of_options(contract: Contract) -> Iterator[Problem]:
    """State, and rpcs that only read it, where there is none."""
    for service in _services(contract):
        if service.kind is not ServiceKind.UNKEYED:
            continue
        reason = f"{service.full_name} is {service.kind_name}, which has no state"
        for entry in service.states:
            yield entry.location, f"state '{entry.name}': {reason}"
        for method in service.methods:
            if method.shared:
                yield method.location, f"rpc {service.name}.{method.name} is shared, but {reason}"


def state_names(contract: Contract) -> Iterator[Problem]:
    """Names that cannot be accessors, or are there twice."""
    for service in _services(contract):
        first: dict[str, StateEntry] = {}
        for entry in service.states:
            before = first.setdefault(entry.python_name, entry)
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", entry.name):
                yield entry.location, f"state '{entry.name}' of {service.full_name}: a name is letters, digits and '_', a letter first"
            elif before is not entry:
                same = f"is declared twice ({before.location})" if before.name == entry.name else f"and '{before.name}' are one in Python"
                yield entry.location, f"state '{entry.name}' of {service.full_name} {same}"


def state_types(contract: Contract) -> Iterator[Problem]:
    """Types that are nothing."""
    for service in _services(contract):
        for entry in service.states:
            if entry.value is None:
                hint = f"; did you mean '{entry.hint}'?" if entry.hint else ""
                known = "no message of this file or its imports by its full name, nor string, int64, double, bool or bytes"
                yield entry.location, f"state '{entry.name}' has the type '{entry.type}', which is {known}{hint}"


def values(contract: Contract) -> Iterator[Problem]:
    """Values that make no sense."""
    for service in _services(contract):
        yield from _values(service.full_name, service.options)
        for method in service.methods:
            yield from _values(f"{service.full_name}.{method.name}", method.options)


def _values(what: str, options: CallOptions) -> Iterator[Problem]:
    durations: list[tuple[str, str, timedelta | None]] = [
        ("inactivity_timeout", "inactivity_timeout", options.inactivity_timeout),
        ("retention", "retention", options.retention),
    ]
    retry = options.retry
    if retry is not None:
        durations += [
            ("retry", "initial_interval", retry.initial_interval),
            ("retry", "max_interval", retry.max_interval),
            ("retry", "max_duration", retry.max_duration),
        ]
        # Not `< 1`: that would let a NaN pass.
        if retry.factor is not None and not 1 <= retry.factor < float("inf"):
            yield options.locations["retry"], f"the factor of {what}'s retry is {retry.factor:g}; it is 1 or more"
    for option, name, value in durations:
        if value is None:
            continue
        if value < timedelta(0):
            yield options.locations[option], f"{name} of {what} is negative"
        elif value > _LONGEST:
            yield options.locations[option], f"{name} of {what} is longer than ten thousand years"


def go_types(contract: Contract) -> Iterator[Problem]:
    """What Restate's Go plugin knows and this generator does not."""
    for service in _services(contract):
        if service.kind is None and service.kind_name == "WORKFLOW":
            advice = "make it a VIRTUAL_OBJECT, or (dev.restate.ext.service_type) = KEYED, with the workflow's id as KEY field"
            yield service.location, f"service {service.full_name} is a WORKFLOW, which this generator does not know: {advice}"
    for service, method in _methods(contract):
        if method.handler_type.startswith("WORKFLOW") and service.kind is not None:
            yield method.location, f"rpc {service.name}.{method.name} is a {method.handler_type}, but {service.full_name} is no workflow"


def contradiction(contract: Contract) -> Iterator[Problem]:
    """Two annotations that say different things."""
    for service in _services(contract):
        if service.contradiction:
            yield service.location, f"service {service.full_name} is {service.kind_name} and {service.contradiction} at once"
    for service, method in _methods(contract):
        if method.shared and method.handler_type not in ("", "SHARED"):
            yield method.location, f"rpc {service.name}.{method.name} is shared and {method.handler_type} at once"


def class_twice(contract: Contract) -> Iterator[Problem]:
    """Classes of two services with one name: of `Foo` and `SharedFoo`."""
    for file in contract.files:
        first: dict[str, Service] = {}
        for service in file.services:
            for name in service.class_names if contract.sync_clients else service.class_names[:-1]:
                before = first.setdefault(name, service)
                if before is not service:
                    yield (
                        service.location,
                        f"services {before.name} ({before.location}) and {service.name} would both make the class {name} in Python",
                    )
