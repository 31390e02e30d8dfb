"""Rules that contracts have to keep: one table, which also makes the reference page."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from . import option_rules
from .model import Contract, FieldRole, File, Finding, InputField, Level, Location, Message, Method, Service, ServiceKind
from .naming import module_name

__all__ = ["EARLIER", "RULES", "Rule", "check"]

T = TypeVar("T")
Problem = tuple[Location, str]


class Rule(NamedTuple):
    """One rule.

    Attributes:
        code: its code in messages.
        title: what it demands.
        advice: why, and what to do.
        find: every violation in a contract.
        level: what a violation means.
    """

    code: str
    title: str
    advice: str
    find: Callable[[Contract], Iterator[Problem]]
    level: Level = Level.FATAL


def check(contract: Contract) -> list[Finding]:
    """Every violation of every rule."""
    return [Finding(location, rule.code, message, rule.level) for rule in RULES for location, message in rule.find(contract)]


def _services(contract: Contract) -> Iterator[Service]:
    return (service for file in contract.files for service in file.services)


def _methods(contract: Contract, *kinds: ServiceKind) -> Iterator[tuple[Service, Method]]:
    """The rpcs of services of those kinds, of all services where none is named."""
    return ((service, method) for service in _services(contract) if not kinds or service.kind in kinds for method in service.methods)


def _inputs(contract: Contract) -> Iterator[Message]:
    """The inputs of rpcs that have annotated fields."""
    return (method.input for _, method in _methods(contract) if method.input.fields)


def _keys(contract: Contract) -> Iterator[InputField]:
    """The KEY fields that KEYED services go by."""
    return (key for _, method in _methods(contract, ServiceKind.KEYED) for key in method.input.having(FieldRole.KEY))


def _kind(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        if service.kind is None and service.kind_name != "WORKFLOW":  # that one has a rule of its own
            yield service.location, f"service {service.full_name} has a service_type that does not exist"


def _reserved(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        if not service.shipped and service.full_name.startswith(("dev.restate.", "grpc.")):
            package = service.full_name.rpartition(".")[0]
            yield service.location, f"service {service.full_name} is in package {package}, which is reserved for built-in services"


def _cluster_name(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        name = service.full_name
        if name.lower().startswith("restate") and not service.shipped:
            yield service.location, f"service {name} starts with 'restate', which a Restate cluster refuses"
        elif name.lower() == "openapi":
            yield service.location, f"service {name} has the one name that a Restate cluster keeps for itself"


_CLUSTERS = re.compile(r"([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*")


def _cluster_pattern(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        named = [(service.location, "service", service.full_name)]
        named += [(method.location, "rpc", f"{service.name}.{method.name}") for method in service.methods]
        for location, what, name in named:
            if not _CLUSTERS.fullmatch(name if what == "service" else name.rpartition(".")[2]):
                yield location, f"{what} {name} starts with '_' and no letter behind it, which a Restate cluster refuses"


def _key_without_effect(contract: Contract) -> Iterator[Problem]:
    keyed = {method.input.full_name for _, method in _methods(contract, ServiceKind.KEYED)}
    for service, method in _methods(contract, ServiceKind.UNKEYED, ServiceKind.SINGLETON):
        for key in method.input.having(FieldRole.KEY) if method.input.full_name not in keyed else ():
            reason = f"field '{key.name}' of {method.input.full_name} is a KEY, and has no effect: {service.name} is {service.kind_name}"
            yield method.input_location, f"rpc {service.name}.{method.name}: {reason}"
    taken = {method.input.full_name for _, method in _methods(contract)}
    # A file without services may have messages for those of others, which need not be here.
    for message in (message for file in _with_services(contract) for message in file.keyed if message.full_name not in taken):
        for key in message.having(FieldRole.KEY):
            reason = f"no rpc takes {message.full_name} itself"
            yield key.location, f"field '{key.name}' of {message.full_name} is a KEY, and has no effect: {reason}"


def _copies(contract: Contract) -> Iterator[Problem]:
    for location in contract.copies:
        yield location, "this is a copy of a file of dev/restate under another name: import that file by its own name"


def _left_out(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        for name, location in service.left_out:
            yield location, f"rpc {service.name}.{name} streams, and is left out"


def _no_rpcs(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        if service.kind is ServiceKind.KEYED and not service.methods:
            yield service.location, f"service {service.full_name} is {service.kind_name} and has no rpc"


def _streaming(contract: Contract) -> Iterator[Problem]:
    for service, method in _methods(contract):
        if method.streaming:
            yield method.location, f"rpc {service.name}.{method.name} streams; durable calls have one request and one response"


def _key_missing(contract: Contract) -> Iterator[Problem]:
    for service, method in _methods(contract, ServiceKind.KEYED):
        if not method.input.having(FieldRole.KEY):
            reason = "which has no field at all" if method.input.is_empty else "which has no KEY field of its own"
            yield (
                method.input_location,
                f"rpc {service.name}.{method.name} of a {service.kind_name} service takes {method.input.full_name}, {reason}; "
                f"mark one string field with [(dev.restate.ext.field) = KEY]",
            )


def _role_twice(contract: Contract) -> Iterator[Problem]:
    for message in _inputs(contract):
        for role in FieldRole:
            for extra in message.having(role)[1:]:
                yield (
                    extra.location,
                    f"field {message.full_name}.{extra.name} is a second {role.name} beside '{message.having(role)[0].name}'",
                )


def _key_type(contract: Contract) -> Iterator[Problem]:
    for key in _keys(contract):
        if key.type != "string":
            yield key.location, f"KEY field '{key.name}' is {key.type}; a key is a string"


def _key_in_oneof(contract: Contract) -> Iterator[Problem]:
    for key in _keys(contract):
        if key.in_oneof:
            yield key.location, f"KEY field '{key.name}' is in a oneof, where it is missing as soon as another member is set"


def _payload_type(contract: Contract) -> Iterator[Problem]:
    for message in _inputs(contract):
        for item in message.having(FieldRole.EVENT_PAYLOAD):
            if item.type not in ("string", "bytes"):
                yield item.location, f"EVENT_PAYLOAD field '{item.name}' is {item.type}; a payload is a string or bytes"


def _metadata_type(contract: Contract) -> Iterator[Problem]:
    for message in _inputs(contract):
        for item in message.having(FieldRole.EVENT_METADATA):
            if item.type != "map<string, string>":
                yield item.location, f"EVENT_METADATA field '{item.name}' is {item.type}; attributes are a map<string, string>"


def _rpc_names(contract: Contract) -> Iterator[Problem]:
    for service in _services(contract):
        for first, second in _repeated(service.methods, lambda method: method.python_name):
            yield (
                second.location,
                f"rpcs {first.name} ({first.location}) and {second.name} of {service.full_name} are both '{first.python_name}' in Python",
            )


def _service_names(contract: Contract) -> Iterator[Problem]:
    for file in contract.files:
        for first, second in _repeated(file.services, lambda service: service.constant):
            yield (
                second.location,
                f"services {first.name} ({first.location}) and {second.name} are both '{first.constant}' in Python",
            )


def _repeated(items: Sequence[T], name: Callable[[T], str]) -> Iterator[tuple[T, T]]:
    """Each item that has the name of an earlier one, behind the first that has it."""
    first: dict[str, T] = {}
    for item in items:
        if name(item) in first:
            yield first[name(item)], item
        else:
            first[name(item)] = item


def _with_services(contract: Contract) -> list[File]:
    return [file for file in contract.files if file.services]


def _module_twice(contract: Contract) -> Iterator[Problem]:
    for first, second in _repeated(_with_services(contract), lambda file: module_name(file.name, "_restate")):
        yield Location(second.name), f"{first.name} and {second.name} are both the module {module_name(first.name, '_restate')}"


def _file_name(contract: Contract) -> Iterator[Problem]:
    messages = {message.file for service in _services(contract) for message in service.messages}
    for name in sorted({file.name for file in _with_services(contract)} | messages):
        if not all(re.fullmatch(r"\w+", part) for part in module_name(name, "_pb2").split(".")):
            printable = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
            yield Location(printable), "the file's name cannot become a Python module; use letters, digits, '_', '-' and '/'"


def _hidden(contract: Contract) -> Iterator[Problem]:
    with_services = {file.name for file in _with_services(contract)}
    for name in sorted(contract.rooted):
        module = module_name(name, "_restate" if name in with_services else "_pb2")
        first, _, others = module.partition(".")
        if others and first in _TAKEN:
            whose = "Python" if first in _STANDARD else "protoc-gen-restate"
            yield Location(name), f"{module} could not be imported: '{first}' is a module of {whose} itself"
        elif name in with_services and module.startswith("google.protobuf."):
            yield Location(name), f"{module} could not be imported: 'google.protobuf' is a package of protobuf itself"


_STANDARD = sys.stdlib_module_names | {"test"}
_TAKEN = _STANDARD | {"restate_runtime", "protoc_gen_restate"}


def _protoc_name(contract: Contract) -> Iterator[Problem]:
    defined = {(name, file.name) for file in _with_services(contract) for name in file.definitions}
    used = {(message.path[0], message.file) for service in _services(contract) for message in service.messages}
    for name, file_name in sorted(defined | used):
        if name == "_descriptor":
            module = module_name(file_name, "_pb2")
            yield Location(file_name), f"{module} could not be imported: protoc uses the name '{name}' in it for itself"


EARLIER = (
    (
        "RST001",
        "The plugin is run by protoc",
        "The input is not what protoc sends to its plugins: it was cut short, or the plugin was started by hand.",
    ),
    (
        "RST002",
        "Python's protobuf can load every file",
        "The message is protobuf's own. protoc accepts a few things that Python's protobuf refuses.",
    ),
    (
        "RST003",
        "`dev/restate/services.proto` is ours",
        "Restate's published file has a oneof `argument` with a field whose JSON name is `argument` too; Python's protobuf refuses it. "
        "Use the file from `protoc-gen-restate --include` or `--export`: it is the same on the wire and in JSON.",
    ),
    ("RST004", "Options exist", "`--restate_opt` has an unknown key or value; the message names what there is."),
    ("RST005", "No faults in the generator", "A fault of the generator itself. Please report it, with the contract."),
    (
        "RST006",
        "Annotations have Restate's numbers",
        "A changed copy of `dev/restate/ext.proto` would be another option of the same name. Use the file from `--include` or `--export`.",
    ),
    (
        "RST007",
        "Contracts are in UTF-8",
        "So are the names of their files. In comments only protobuf's pure Python implementation minds.",
    ),
    (
        "RST008",
        "The message library is installed",
        "`messages=betterproto` and `messages=betterproto2` ask the library itself for the names of its classes: "
        "`pip install 'protoc-gen-restate[betterproto2]'`.",
    ),
    (
        "RST009",
        "Templates work",
        "A template of `templates=` or of a plugin is faulty, or asks for what is not there. The message has its file and line.",
    ),
    ("RST010", "Plugins work", "A hook of a plugin raised an exception, or gave something else than it has to."),
)
"""Codes that come up before there is a contract to check, or after: code, title, advice."""

RULES = (
    Rule(
        "RST101",
        "The service type exists",
        "It is UNKEYED, KEYED or SINGLETON. Another number comes from a changed copy of `dev/restate/ext.proto`.",
        _kind,
    ),
    Rule("RST102", "Packages `dev.restate` and `grpc` are reserved", "Put the service into a package of your own.", _reserved, Level.ERROR),
    Rule("RST103", "A KEYED service has rpcs", "Without one it could never be called.", _no_rpcs, Level.ERROR),
    Rule(
        "RST104",
        "No streaming",
        "A durable call has one request and one response, which the journal keeps. Use several calls, or take `service_type` away: such a "
        "service is left alone.",
        _streaming,
    ),
    Rule(
        "RST105",
        "A KEYED rpc's input has a KEY",
        "The key decides whose turn it is. It is a field of the input message itself; fields of nested messages are not looked at. An "
        "imported message with a KEY counts, such as `dev.restate.Event`.",
        _key_missing,
    ),
    Rule(
        "RST106",
        "Each annotation stands once in a message",
        "Two keys, payloads or attributes would leave open which one counts.",
        _role_twice,
        Level.ERROR,
    ),
    Rule("RST107", "A KEY is a string", "Not repeated, not a number, not bytes.", _key_type),
    Rule("RST108", "A KEY is not in a oneof", "Another member would clear the key. `optional` is allowed.", _key_in_oneof, Level.ERROR),
    Rule("RST109", "An EVENT_PAYLOAD is a string or bytes", "It takes an event's body as it came.", _payload_type, Level.ERROR),
    Rule("RST110", "EVENT_METADATA is a `map<string, string>`", "It takes an event's attributes.", _metadata_type, Level.ERROR),
    Rule(
        "RST111",
        "Rpcs differ in Python",
        "Names become snake case: `GetUrl` and `get_url` would be one method. Rename one of them.",
        _rpc_names,
    ),
    Rule(
        "RST112",
        "Services differ in Python",
        "The descriptor's name is the service's in upper snake case: `TicketShop` and `Ticket_Shop` would be one. Rename one of them.",
        _service_names,
    ),
    Rule(
        "RST113",
        "Files differ in Python",
        "Dashes become underscores, as in protoc: `a-b.proto` and `a_b.proto` would be one module.",
        _module_twice,
    ),
    Rule("RST114", "A file's name can be a module", "Anything else could not be imported.", _file_name),
    Rule(
        "RST115",
        "A Restate cluster takes the service's name",
        "It refuses full names that start with `restate` or are `openapi`, in any case. Put the service into another package.",
        _cluster_name,
        Level.ERROR,
    ),
    Rule(
        "RST116",
        "A KEY has a KEYED service",
        "In the input of an UNKEYED or SINGLETON service a KEY has no effect, nor in a message of a file with services that no rpc takes: "
        "only fields of the input itself are looked at. Perhaps the service was meant to be KEYED; otherwise take the annotation away. A "
        "message that is some KEYED service's input too is left alone.",
        _key_without_effect,
        Level.WARNING,
    ),
    Rule(
        "RST117",
        "Rpcs that stream are left out",
        "With `require_service_type=false`, services come in that nobody wrote for durable calls. Of these, rpcs that stream are left out.",
        _left_out,
        Level.WARNING,
    ),
    Rule(
        "RST118",
        "Modules are not hidden",
        "Modules are called after the path of their .proto file, and Python looks at its own modules first: with the output folder on "
        "`sys.path`, `types/money.proto` could never be imported, whoever generates it. Use another folder, or make the output folder a "
        "package (`imports=relative`, `package_prefix`).",
        _hidden,
        Level.ERROR,
    ),
    Rule(
        "RST119",
        "Nothing at the top of a file is called `_descriptor`",
        "protoc's own module for the messages would not load. Rename it, or put it into a message.",
        _protoc_name,
        Level.ERROR,
    ),
    Rule(
        "RST120",
        "A Restate cluster takes names with underscores",
        "It refuses services and rpcs whose name starts with an underscore that neither a letter nor a digit follows. The embedded runtime "
        "takes them.",
        _cluster_pattern,
        Level.WARNING,
    ),
    Rule(
        "RST121",
        "Only services with state have state and shared rpcs",
        "An UNKEYED service has no state: make it KEYED or SINGLETON, or take the option away.",
        option_rules.kind_of_options,
    ),
    Rule(
        "RST122",
        "The states of a service have names of their own",
        "A name is what the value is stored under, and in snake case the accessor `ctx.state.NAME`.",
        option_rules.state_names,
    ),
    Rule(
        "RST123",
        "A state's type exists",
        "It is the full name of a message that the file defines or imports, without a leading dot, or one of string, int64, double, bool "
        "and bytes.",
        option_rules.state_types,
    ),
    Rule("RST124", "Options have values that make sense", "Durations are not negative, and intervals do not shrink.", option_rules.values),
    Rule(
        "RST125",
        "Workflows are not known",
        "The annotations of Restate's Go plugin are understood where they map: SERVICE is UNKEYED, VIRTUAL_OBJECT is KEYED. A WORKFLOW is "
        "a service whose runs have an id: model it as KEYED, with that id as KEY field.",
        option_rules.go_types,
    ),
    Rule(
        "RST126",
        "Annotations do not contradict each other",
        "A service that has both `dev.restate.ext.service_type` and the one of Restate's Go plugin is of one kind, and an rpc is either "
        "shared or EXCLUSIVE.",
        option_rules.contradiction,
    ),
    Rule(
        "RST127",
        "Services make classes of their own",
        "Classes are called after their service: `FooContext` and `FooSyncClient` of `Foo` must not be what another service makes. Rename "
        "one of them, or put it into another file; without sync clients (`sync=off`) `Foo` and `FooSync` go together.",
        option_rules.class_twice,
    ),
    Rule(
        "RST128",
        "Shipped files have their own names",
        "A copy of `dev/restate/ext.proto` or `options.proto` at another path declares the same things again, which protobuf refuses "
        "in a process that has both, as a runtime with an ingress does. Import the files by their own names; the folder from `--include` "
        "has them.",
        _copies,
        Level.WARNING,
    ),
)
"""The rules, in the order of their codes."""


def reference() -> str:
    """The page `docs/reference/lint.md`."""
    rules = ((rule.code, rule.title, f"{rule.advice} *{rule.level.value.capitalize()}.*") for rule in RULES)
    entries: Iterable[tuple[str, str, str]] = [*EARLIER, *rules, *COMMAND]
    sections = [f"## {code}: {title}\n\n{advice}\n" for code, title, advice in entries]
    return "\n".join([_HEAD, *sections])


COMMAND = (
    ("RST201", "`generate` finds a compiler", "Install the extra: `pip install 'protoc-gen-restate[codegen]'`, or put a `protoc` on PATH."),
    (
        "RST202",
        "Nothing hides `dev.restate`",
        "The modules of `dev/restate/*.proto` come with this package, and `dev` is a namespace package. A `dev/__init__.py` or `dev.py` of "
        "yours makes Python look nowhere else. Remove it, or let it extend its `__path__` with `pkgutil.extend_path`.",
    ),
    (
        "RST203",
        "Paths exist, below an import folder",
        "A .proto file's name is its path below one of the `-I` folders, as in protoc; without any `-I`, below the working directory.",
    ),
    (
        "RST204",
        "The output can be written",
        "`--out` is a folder, or one that can be made. Of what is there, only files of the same names are replaced.",
    ),
    (
        "RST205",
        "The other compilers take the contracts",
        "`generate` also runs mypy-protobuf, or the compiler of `messages=`. One of them fails with an exception of its own; its last line "
        "is shown. Change what it does not take, or run it by itself to see more. mypy-protobuf takes no file that is not in UTF-8; "
        "betterproto's compilers take less than protoc does.",
    ),
)
"""Codes of `python -m protoc_gen_restate generate`."""

_HEAD = """# What the generator checks

Findings come as errors of protoc, one line each, all at once: `file:line:column: message [code]`. Nothing is generated while there are any.
The option `lint=warn` turns those that code can be generated in spite of into warnings, `lint=off` leaves them and all warnings out.
"""


if __name__ == "__main__":
    print(reference(), end="")
