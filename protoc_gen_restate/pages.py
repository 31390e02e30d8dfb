"""What templates see of a module: the model, and every expression that it takes."""

import base64
from collections.abc import Callable
from typing import NamedTuple

from .comments import literal
from .imports import ImportTable, Section, sort_key
from .layout import Layout
from .lines import breakable
from .literals import Literals
from .messages import Alias, Flavour, Reference, Scope
from .model import FieldRole, File, Message, Method, Scalar, Service, ServiceKind, StateEntry
from .options import EmptyMessages, ImportStyle, Options, SyncClients, Unimplemented

__all__ = ["CarriedPage", "MethodPage", "ModulePage", "Names", "Pages", "ServicePage", "StatePage"]

_CARRIED_WIDTH = 72


class StatePage(NamedTuple):
    """A declared state, with every expression that the template needs."""

    entry: StateEntry
    type: Reference


class MethodPage(NamedTuple):
    """An rpc, with every expression that the template needs."""

    method: Method
    context: str
    request: Reference
    response: Reference
    key_field: str | None
    empty_request: bool
    empty_response: bool
    deprecated: str
    settings: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def documentation(self) -> str:
        return self.method.comments or f"The rpc {self.method.name}."


class ServicePage(NamedTuple):
    """A service, with every expression that the template needs."""

    service: Service
    kind: str
    context: str
    shared_context: str
    variable: str
    descriptor: str
    methods: tuple[MethodPage, ...]
    states: tuple[StatePage, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def has_long_names(self) -> bool:
        """Its descriptor has lines that formatters would break."""
        values = [f'descriptor={self.variable}.methods_by_name["{page.method.name}"]' for page in self.methods]
        values += [f"response={message.value}" for page in self.methods for message in (page.request, page.response)]
        values += [f"type={state.type.value}" for state in self.states]
        return any(breakable(f"            {value},") for value in values)

    @property
    def has_shared_state(self) -> bool:
        """It has a context for shared handlers of its own."""
        return bool(self.states) and self.service.has_shared

    @property
    def documentation(self) -> str:
        return self.service.comments or f"The service {self.service.full_name}."


class CarriedPage(NamedTuple):
    """The descriptors that a module brings along, with every expression that the template needs."""

    variable: str
    library: str
    lines: tuple[str, ...]


class Names(NamedTuple):
    """What a module calls the things that it needs; empty where it needs none."""

    Final: str
    restate: str
    property: str
    abc: str = ""
    Any: str = ""
    TYPE_CHECKING: str = ""
    TypeAlias: str = ""


class ModulePage(NamedTuple):
    """A module, with every expression that the template needs."""

    file: File
    services: tuple[ServicePage, ...]
    imports: tuple[str, ...]
    aliases: tuple[Alias, ...]
    exports: tuple[str, ...]
    names: Names
    carried: CarriedPage | None
    uses_deprecated: bool
    options: Options

    @property
    def abstract(self) -> bool:
        """Bases are abstract."""
        return self.options.unimplemented is Unimplemented.ABSTRACT

    @property
    def sync(self) -> bool:
        """There are clients for code without an event loop."""
        return self.options.sync is SyncClients.ON


class Pages:
    """Makes the pages for one message flavour.

    Args:
        options: the plugin's.
        flavour: the message library.
        descriptors: gives the serialized descriptors that the module of a file brings along.
    """

    def __init__(self, options: Options, flavour: Flavour, descriptors: Callable[[str], bytes]) -> None:
        self._options = options
        self._flavour = flavour
        self._descriptors = descriptors

    def module(self, file: File) -> ModulePage:
        """The page of the module for a file with services."""
        imports = ImportTable(_names(file, self._options))
        style = self._options.imports or (ImportStyle.RELATIVE if self._flavour.in_package else ImportStyle.ABSOLUTE)
        scope = Scope(imports, Layout.of(self._options, file.name, style))
        names = {
            "Final": imports.member("typing", "Final", Section.STANDARD),
            "restate": imports.module("restate_runtime", Section.THIRD_PARTY, "restate"),
        }
        if self._options.unimplemented is Unimplemented.ABSTRACT and any(service.methods for service in file.services):
            names["abc"] = imports.module("abc", Section.STANDARD)
        names["property"] = _builtin("property", file, imports)
        restate = names["restate"]
        literals = Literals(imports, restate)
        references: dict[str, Reference] = {}
        deprecated: set[str] = set()

        def reference(message: Message) -> Reference:
            if message.deprecated:
                deprecated.add(message.full_name)
            if message.full_name not in references:
                references[message.full_name] = self._flavour.reference(message, scope)
            return references[message.full_name]

        carried = None if self._flavour.carries_descriptors else self._carried(file, scope)
        services = []
        for service in file.services:
            assert service.kind is not None, "checked by lint"
            own, stem = f"{service.kind.name.capitalize()}Context", service.python_name
            contexts = (f"{stem}Context", f"Shared{stem}Context") if service.states else (f"{restate}.{own}", f"{restate}.Shared{own}")
            methods = tuple(
                self._method(service, method, contexts[method.shared], reference(method.input), reference(method.output), literals)
                for method in service.methods
            )
            described = self._flavour.file_descriptor(file, scope) if carried is None else carried.variable
            services.append(
                ServicePage(
                    service=service,
                    kind=f"{restate}.ServiceKind.{service.kind.name}",
                    context=f"{restate}.{own}",
                    shared_context=f"{restate}.Shared{own}",
                    variable=imports.reserve(f"_{service.constant.lower()}"),
                    descriptor=f"{described}.services_by_name[{literal(service.name)}]",
                    methods=methods,
                    states=tuple(self._state(file, entry, reference, imports) for entry in service.states),
                    settings=literals.settings(service.options),
                )
            )
        aliases = [found.alias for found in references.values() if found.alias is not None]
        if aliases:
            names["TYPE_CHECKING"] = imports.member("typing", "TYPE_CHECKING", Section.STANDARD)
            names["TypeAlias"] = imports.member("typing", "TypeAlias", Section.STANDARD)
            if any(alias.static is None for alias in aliases):
                names["Any"] = imports.member("typing", "Any", Section.STANDARD)
        return ModulePage(
            file,
            tuple(services),
            tuple(imports.lines()),
            tuple(aliases),
            tuple(_exports(file, self._options)),
            Names(**names),
            carried,
            bool(deprecated),
            self._options,
        )

    def _carried(self, file: File, scope: Scope) -> CarriedPage:
        text = base64.b85encode(self._descriptors(file.name)).decode()
        lines = tuple(text[start : start + _CARRIED_WIDTH] for start in range(0, len(text), _CARRIED_WIDTH))
        return CarriedPage(scope.imports.reserve("_file"), self._flavour.library(scope), lines)

    def _state(self, file: File, entry: StateEntry, reference: Callable[[Message], Reference], imports: ImportTable) -> StatePage:
        value = entry.value
        assert value is not None, "checked by lint"
        if isinstance(value, Scalar):
            name = _builtin(value.python, file, imports)
            return StatePage(entry, Reference(name, name))
        return StatePage(entry, reference(value))

    def _method(
        self, service: Service, method: Method, context: str, request: Reference, response: Reference, literals: Literals
    ) -> MethodPage:
        keys = method.input.having(FieldRole.KEY)
        omit = self._options.empty is EmptyMessages.OMIT
        return MethodPage(
            method=method,
            context=context,
            request=request,
            response=response,
            key_field=keys[0].name if service.kind is ServiceKind.KEYED else None,
            empty_request=omit and method.input.is_empty,
            empty_response=omit and method.output.is_empty,
            deprecated=_deprecated(service, method),
            settings=(*((("shared=True", ()),) if method.shared else ()), *_event_fields(method.input), *literals.settings(method.options)),
        )


# The shipped message for events as they come: only its key is annotated, as in Restate's own file.
_EVENT = "dev.restate.Event"


def _event_fields(message: Message) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Arguments of a descriptor that say where an event goes."""
    if message.full_name == _EVENT:
        names = {"event_payload_field": "payload", "event_metadata_field": "attributes"}
    else:
        found = {
            "event_payload_field": _first_of(message, FieldRole.EVENT_PAYLOAD, ("string", "bytes")),
            "event_metadata_field": _first_of(message, FieldRole.EVENT_METADATA, ("map<string, string>",)),
        }
        names = {argument: name for argument, name in found.items() if name is not None}
    return tuple((f'{argument}="{name}"', ()) for argument, name in names.items())


def _first_of(message: Message, role: FieldRole, types: tuple[str, ...]) -> str | None:
    """The field of that role; one of another type is a finding, which options of the plugin can turn off."""
    return next((item.name for item in message.having(role) if item.type in types), None)


def _deprecated(service: Service, method: Method) -> str:
    """What callers are told, once."""
    if service.deprecated:
        return f"the service {service.full_name} is deprecated"
    return f"{service.full_name}/{method.name} is deprecated" if method.deprecated else ""


def _members(file: File) -> set[str]:
    """The names that stand in its classes: of rpcs and states."""
    rpcs = {method.python_name for service in file.services for method in service.methods}
    return rpcs | {entry.python_name for service in file.services for entry in service.states}


def _builtin(name: str, file: File, imports: ImportTable) -> str:
    """A builtin; an rpc called `Property` hides one in its class."""
    return f"{imports.module('builtins', Section.STANDARD)}.{name}" if name in _members(file) else name


def _names(file: File, options: Options) -> set[str]:
    """Every name that the module defines or uses by itself, in its own scope or in its classes."""
    builtins = {"property", "getattr", "vars", *(scalar.python for scalar in Scalar)}
    return {*_members(file), *_exports(file, options), *builtins, "self", "ctx", "request", "state"}


def _exports(file: File, options: Options) -> list[str]:
    last = None if options.sync is SyncClients.ON else -1  # the sync client
    names = [name for item in file.services for name in (item.constant, *item.class_names[:last])]
    return sorted(names, key=sort_key)
