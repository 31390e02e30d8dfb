"""Options of the plugin: `--restate_opt=KEY=VALUE`, several separated by commas.

One table is the parser, `--help` and the reference page.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .model import ServiceKind
from .naming import is_plain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "EmptyMessages",
    "ImportStyle",
    "LintLevel",
    "OptionError",
    "Options",
    "SyncClients",
    "Unimplemented",
    "help_text",
    "parse",
    "reference",
]


class OptionError(ValueError):
    """An option that does not exist, or a value that it does not take."""


class EmptyMessages(enum.Enum):
    """What becomes of `google.protobuf.Empty`."""

    OMIT = "omit"
    """Left out: no parameter as a request, `None` as a response."""
    KEEP = "keep"
    """A message like any other."""


class ImportStyle(enum.Enum):
    """How generated modules import message classes."""

    ABSOLUTE = "absolute"
    """From the output folder, which is on `sys.path`."""
    RELATIVE = "relative"
    """From where the module is: the output folder may be anywhere in a package."""


class SyncClients(enum.Enum):
    """Whether there are clients for code without an event loop."""

    ON = "on"
    OFF = "off"


class Unimplemented(enum.Enum):
    """What a base does with rpcs that a service leaves out."""

    ABSTRACT = "abstract"
    """The base is abstract: such a service cannot be made."""
    RAISE = "raise"
    """The base is concrete: such rpcs fail with UNIMPLEMENTED."""


class LintLevel(enum.Enum):
    """What becomes of findings of rules that code can be generated in spite of."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


def _choice(choices: type[enum.Enum]) -> Callable[[str], enum.Enum]:
    def read(text: str) -> enum.Enum:
        try:
            return choices(text)
        except ValueError:
            raise OptionError(f"is {_listed(str(choice.value) for choice in choices)}, not '{text}'") from None

    return read


def _kind(text: str) -> ServiceKind:
    if text not in ServiceKind.__members__:
        raise OptionError(f"is {_listed(ServiceKind.__members__)}, not '{text}'")
    return ServiceKind[text]


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise OptionError(f"is 'true' or 'false', not '{text}'")
    return text == "true"


def _word(text: str) -> str:
    if not text:
        raise OptionError("has no value")
    return text


def _module(text: str) -> str:
    if not all(map(is_plain, text.split("."))):
        raise OptionError(f"is a Python module such as 'acme.gen', not '{text}'")
    return text


def _suffix(text: str) -> str:
    if not text or not is_plain(f"a{text}"):
        raise OptionError(f"is the end of a module's name such as '_restate', not '{text}'")
    if text in ("_pb2", "_pb2_grpc"):
        raise OptionError(f"is not '{text}': such modules are protoc's own")
    return text


def _folder(text: str) -> "Path":
    from pathlib import Path  # like others below: it takes longer to load than most runs need for their options

    folder = Path(text)
    if not text or not folder.is_dir():
        raise OptionError(f"is a folder; there is none at '{text}'")
    return folder


def _names(choices: type[enum.Enum]) -> str:
    return ", ".join(f"`{choice.value}`" for choice in choices)


class Options(NamedTuple):
    """The options with their defaults; each field is one option, apart from `modules`, whose options are called `M<file>`."""

    messages: str = "protobuf"
    empty: EmptyMessages = EmptyMessages.OMIT
    unimplemented: Unimplemented = Unimplemented.ABSTRACT
    sync: SyncClients = SyncClients.ON
    imports: ImportStyle | None = None
    package_prefix: str = ""
    modules: Mapping[str, str] = MappingProxyType({})
    suffix: str = "_restate"
    init_files: bool = False
    require_service_type: bool = True
    default_service_type: ServiceKind = ServiceKind.UNKEYED
    lint: LintLevel = LintLevel.ERROR
    templates: "Path | None" = None
    plugins: tuple[str, ...] = ()


class _Option(NamedTuple):
    """One option: what it means, what it takes, and what makes a value of its text, or raises OptionError."""

    meaning: str
    values: str
    read: Callable[[str], Any]


# One for each field of `Options`, in their order.
_OPTIONS = {
    "messages": _Option(
        "whose message classes generated code speaks of: google.protobuf's, betterproto 2.0.0b7's, betterproto2's, or those of a plugin",
        "`protobuf`, `betterproto`, `betterproto2`, or a plugin's",
        _word,
    ),
    "empty": _Option(
        "whether `google.protobuf.Empty` is left out: no parameter as a request, `None` as a response",
        _names(EmptyMessages),
        _choice(EmptyMessages),
    ),
    "unimplemented": _Option(
        "whether bases are abstract, or rpcs that a service leaves out fail with UNIMPLEMENTED",
        _names(Unimplemented),
        _choice(Unimplemented),
    ),
    "sync": _Option(
        "whether there are clients for code without an event loop, `...SyncClient`",
        _names(SyncClients),
        _choice(SyncClients),
    ),
    "imports": _Option(
        "how message classes are imported; `absolute` unless the library's own code needs to be in a package, as betterproto's does",
        _names(ImportStyle),
        _choice(ImportStyle),
    ),
    "package_prefix": _Option("the package that the output folder is, for absolute imports", "`acme.gen`", _module),
    "modules": _Option("the module with the messages of that .proto file", "`M<file>=acme.cart_pb2`", _module),
    "suffix": _Option("the end of generated modules' names", "`_restate`", _suffix),
    "init_files": _Option("whether folders of generated modules get an `__init__.py`", "`true`, `false`", _flag),
    "require_service_type": _Option(
        "whether services without `service_type` are left alone; otherwise they are of `default_service_type`",
        "`true`, `false`",
        _flag,
    ),
    "default_service_type": _Option(
        "what services without `service_type` are",
        ", ".join(f"`{name}`" for name in ServiceKind.__members__),
        _kind,
    ),
    "lint": _Option(
        "what becomes of findings of rules that code can be generated in spite of; the [page of rules](lint.md) says which these are",
        _names(LintLevel),
        _choice(LintLevel),
    ),
    "templates": _Option("a folder with templates that replace those of the same name", "a folder", _folder),
    "plugins": _Option("an installed plugin, or a module that is one; several with one `plugins=` each", "a name", _word),
}


_MAPPED = "M"


def parse(parameter: str) -> Options:
    """Reads the parameter of a request, `empty=keep,suffix=_durable`.

    Raises:
        OptionError: an unknown key, a missing or unknown value, a key given twice, or options that exclude each other.
    """
    known = _OPTIONS.keys() - {"modules"}
    values: dict[str, Any] = {}
    modules: dict[str, str] = {}
    plugins: list[str] = []
    for part in filter(None, (piece.strip() for piece in parameter.split(","))):
        key, _, text = part.partition("=")
        if key.startswith(_MAPPED) and key.endswith((".proto", ".protodevel")):
            if key[1:] in modules:
                raise OptionError(f"option '{key}' is given twice")
            modules[key[1:]] = _read(key, text, _module)
        elif key not in known:
            raise OptionError(f"unknown option '{key}'{_nearest(key, known)}")
        elif key == "plugins":
            plugins.append(_read(key, text, _word))
        elif key in values:
            raise OptionError(f"option '{key}' is given twice")
        else:
            values[key] = _read(key, text, _OPTIONS[key].read)
    options = Options(**values, modules=modules, plugins=tuple(dict.fromkeys(plugins)))
    if options.package_prefix and options.imports is ImportStyle.RELATIVE:
        raise OptionError("option 'package_prefix' is for absolute imports, and 'imports' is 'relative'")
    if "default_service_type" in values and options.require_service_type:
        raise OptionError("option 'default_service_type' has no effect without 'require_service_type=false'")
    return options


def _read(key: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except OptionError as error:
        raise OptionError(f"option '{key}' {error}") from None


def _nearest(key: str, known: Iterable[str]) -> str:
    import difflib

    if key.startswith(_MAPPED) and "/" in key:
        return f"; did you mean '{key}.proto'?"
    names = sorted([*known, "M<file>"])
    near = difflib.get_close_matches(key.strip().lower(), names, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; there is {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _rows() -> list[tuple[str, str, str, str]]:
    """Name, values, default and meaning of every option."""
    defaults = Options._field_defaults
    return [
        ("M<file>" if name == "modules" else name, option.values, _shown(defaults[name]), option.meaning)
        for name, option in _OPTIONS.items()
    ]


def _shown(default: object) -> str:
    match default:
        case ServiceKind():
            return default.name
        case enum.Enum():
            return str(default.value)
        case bool():
            return str(default).lower()
        case str():
            return default
        case _:
            return ""


def help_text() -> str:
    """The options for a terminal."""
    import textwrap

    lines = ["options of the plugin (--restate_opt=K=V, or --opt K=V with generate):"]
    for name, values, default, meaning in _rows():
        plain = f"{meaning} ({values.replace('`', '')}{f'; default: {default}' if default else ''})".replace("`", "")
        plain = plain.replace("[page of rules](lint.md)", "page of rules")
        lines += [f"  {name}", *textwrap.wrap(plain, 100, initial_indent="      ", subsequent_indent="      ")]
    return "\n".join(lines)


def reference() -> str:
    """The page `docs/reference/options.md`."""
    rows = "".join(
        f"| `{name}` | {values} | {f'`{default}`' if default else ''} | {meaning} |\n" for name, values, default, meaning in _rows()
    )
    return f"{_HEAD}{rows}"


_HEAD = """# Options of the generator

`--restate_opt=KEY=VALUE` with protoc, `opt: [KEY=VALUE]` in `buf.gen.yaml`, `--opt KEY=VALUE` with `generate`. An unknown key or value is
an error.

| Option | Values | Default | Meaning |
| --- | --- | --- | --- |
"""


if __name__ == "__main__":
    print(reference(), end="")
