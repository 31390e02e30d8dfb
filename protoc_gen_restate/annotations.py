"""The options of contracts that the generator reads: one table, which also makes the reference page.

An option is ours by its full name and its number in the request's own files: a foreign extension that happens to have our number is not
ours, and no copy of our files has to be in this process.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from .protobuf import DescriptorPool, message_class

if TYPE_CHECKING:
    from google.protobuf import descriptor as _descriptor

__all__ = ["ANNOTATIONS", "Annotation", "Annotations", "Place", "reference"]


class Place(enum.Enum):
    """What an option stands on."""

    SERVICE = "google.protobuf.ServiceOptions"
    METHOD = "google.protobuf.MethodOptions"
    FIELD = "google.protobuf.FieldOptions"


class Annotation(NamedTuple):
    """One option.

    Attributes:
        name: its full name.
        place: what it stands on.
        number: its extension number.
        values: what it takes, for people.
        meaning: what it does.
    """

    name: str
    place: Place
    number: int
    values: str
    meaning: str

    @property
    def package(self) -> str:
        """`dev.restate.ext`."""
        return self.name.rpartition(".")[0]


_DURATION = "a duration, `{ seconds: 30 }`"
_RETRY = "`initial_interval`, `max_interval`, `factor`, `max_attempts` (0: no bound), `max_duration`, `on_exhausted: PAUSE` or `FAIL`"

ANNOTATIONS = (
    Annotation(
        "dev.restate.ext.service_type", Place.SERVICE, 51234, "`UNKEYED`, `KEYED` or `SINGLETON`", "How many invocations run at once."
    ),
    Annotation("dev.restate.ext.field", Place.FIELD, 51234, "`KEY`, `EVENT_PAYLOAD` or `EVENT_METADATA`", "What the field is for."),
    Annotation(
        "dev.restate.options.state",
        Place.SERVICE,
        51240,
        '`{ name: "cart", type: "tour.v1.Cart" }`, any number of them; the type is the full name of a message, or `string`, `int64`, '
        "`double`, `bool` or `bytes`",
        "A state of a KEYED or SINGLETON service, with typed accessors `ctx.state.cart`.",
    ),
    Annotation(
        "dev.restate.options.service_private", Place.SERVICE, 51241, "`true` or `false`", "As `private`, for rpcs that do not have it."
    ),
    Annotation(
        "dev.restate.options.service_retry",
        Place.SERVICE,
        51242,
        "as `retry`",
        "As `retry`, for rpcs that do not have it, and for what it leaves out there.",
    ),
    Annotation(
        "dev.restate.options.service_inactivity_timeout",
        Place.SERVICE,
        51243,
        _DURATION,
        "As `inactivity_timeout`, for rpcs that do not have it.",
    ),
    Annotation("dev.restate.options.service_retention", Place.SERVICE, 51244, _DURATION, "As `retention`, for rpcs that do not have it."),
    Annotation(
        "dev.restate.options.shared",
        Place.METHOD,
        51240,
        "`true` or `false`",
        "The rpc of a KEYED or SINGLETON service only reads state: it takes no turn, runs beside the others, and its context cannot write.",
    ),
    Annotation(
        "dev.restate.options.private",
        Place.METHOD,
        51241,
        "`true` or `false`",
        "The rpc cannot be called from outside, only from handlers.",
    ),
    Annotation(
        "dev.restate.options.retry",
        Place.METHOD,
        51242,
        _RETRY,
        "How failed attempts are retried. What is left out is the service's, then the App's or the runtime's.",
    ),
    Annotation(
        "dev.restate.options.inactivity_timeout",
        Place.METHOD,
        51243,
        _DURATION,
        "A handler that waits longer leaves memory until it can go on.",
    ),
    Annotation(
        "dev.restate.options.retention",
        Place.METHOD,
        51244,
        _DURATION,
        "How long a completed invocation is kept: its result under its idempotency key, and its journal.",
    ),
    Annotation(
        "dev.restate.sdk.go.service_type",
        Place.SERVICE,
        2051,
        "`SERVICE` or `VIRTUAL_OBJECT`",
        "Restate's Go plugin: `SERVICE` is UNKEYED, `VIRTUAL_OBJECT` is KEYED and needs a KEY field. `WORKFLOW` is an error.",
    ),
    Annotation(
        "dev.restate.sdk.go.handler_type",
        Place.METHOD,
        2051,
        "`SHARED` or `EXCLUSIVE`",
        "Restate's Go plugin: `SHARED` is `shared`, where the service is a `VIRTUAL_OBJECT`.",
    ),
)
"""Every option that the generator reads, in the order of the reference page."""


class Annotations:
    """Reads our options through the extensions of one pool."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def of(self, place: Place, proto: Any) -> Mapping[str, Any]:
        """Our options that are set, by full name: numbers, truth values, messages, lists of messages, and enum values by their names.

        An enum value that the contract's own copy does not name stays a number.

        Args:
            place: what it is that may have options.
            proto: its descriptor as it came.
        """
        extensions = self._extensions[place]
        if not extensions or not proto.HasField("options"):
            return {}
        owner = next(iter(extensions.values())).containing_type
        assert owner is not None
        linked = message_class(owner).FromString(proto.options.SerializeToString())
        # A value alone would not do: zero, the default, is a real type.
        return {item.full_name: _value(item, value) for item, value in linked.ListFields() if item.full_name in extensions}

    @property
    def files(self) -> Iterable[tuple[str, str]]:
        """The files that declare our options, each with the package's name."""
        extensions: list[Any] = [item for known in self._extensions.values() for item in known.values()]  # stubs know no `file` of theirs
        found = [item.file for item in extensions]
        return {file.name: file.package for file in found}.items()

    def can_stand(self, place: Place) -> bool:
        """Whether the files know any of our options for such places."""
        return bool(self._extensions[place])

    @cached_property
    def _extensions(self) -> dict[Place, dict[str, _descriptor.FieldDescriptor]]:
        found: dict[Place, dict[str, _descriptor.FieldDescriptor]] = {place: {} for place in Place}
        for annotation in ANNOTATIONS:
            try:
                extension = self._pool.FindExtensionByName(annotation.name)
            except KeyError:
                continue
            owner = extension.containing_type
            if extension.number == annotation.number and owner is not None and owner.full_name == annotation.place.value:
                found[annotation.place][annotation.name] = extension
                if extension.message_type is not None:
                    message_class(extension.message_type)  # protobuf in pure Python does not make it by itself
        return found


def _value(item: _descriptor.FieldDescriptor, value: Any) -> Any:
    if item.enum_type is not None:
        named = item.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return value


def reference() -> str:
    """The tables of options in `docs/reference/annotations.md`."""
    titles = {
        Place.SERVICE: "On a service: `option (NAME) = VALUE;`",
        Place.METHOD: "On an rpc: `option (NAME) = VALUE;`",
        Place.FIELD: "On a field: `[(NAME) = VALUE]`",
    }
    lines: list[str] = []
    for place, title in titles.items():
        lines += ["", f"#### {title}", "", "| Option | Number | Values | Meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{item.name}` | {item.number} | {item.values} | {item.meaning} |" for item in ANNOTATIONS if item.place is place]
    return "\n".join(lines[1:]) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
