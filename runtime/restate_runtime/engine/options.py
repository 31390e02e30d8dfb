"""The options of a runtime: one table for the command line, the TOML file, the environment and `app.start`."""

from __future__ import annotations

import difflib
import enum
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..durations import parse_duration
from ..errors import RuntimeFault
from ..retry import INVOCATION_RETRY, OnExhausted, RetryPolicy
from ..serde import storable

__all__ = ["ENVIRONMENT_PREFIX", "OnDeadlock", "Options", "load_options"]

ENVIRONMENT_PREFIX = "RESTATE_RUNTIME_"


class OnDeadlock(enum.Enum):
    """What follows a cycle of calls in which each waits for the next."""

    ERROR = "error"
    """The call that closed it fails with FAILED_PRECONDITION."""
    REPORT = "report"
    """It is logged; somebody has to cancel or kill one of them."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every option of `serve`; a TOML key, a variable RESTATE_RUNTIME_* and a keyword of `app.start` has the same name."""

    data_dir: Path | None = _option(None, "Directory of the SQLite files; a temporary one where none is given.")
    ingress: str | None = _option(None, "HOST:PORT of the HTTP ingress; port 0 takes a free one.")
    admin: str | None = _option(None, "HOST:PORT of the admin API; port 0 takes a free one.")
    max_message_size: int = _option(32 * 1024 * 1024, "Largest request, result or state value, in bytes.")
    inactivity_timeout: timedelta = _option(timedelta(seconds=60), "A handler that waits longer leaves memory until it can go on.")
    abort_timeout: timedelta = _option(
        timedelta(minutes=10), "An endpoint that is silent for longer once it is asked to suspend is cut off."
    )
    always_suspend: bool = _option(False, "Suspend and replay at every await: for tests.")
    max_live_handlers: int = _option(2000, "Handlers in memory; beyond it waiting ones are suspended first.")
    idempotency_retention: timedelta = _option(timedelta(days=1), "How long a completed call answers repeats of its idempotency key.")
    journal_retention: timedelta = _option(timedelta(days=1), "How long completed invocations can be looked at.")
    shutdown_timeout: timedelta = _option(timedelta(seconds=8), "Bound on a stop; whatever still runs then is left to recovery.")
    retry_initial_interval: timedelta = _option(INVOCATION_RETRY.initial_interval, "Wait before an invocation's second attempt.")
    retry_max_interval: timedelta = _option(INVOCATION_RETRY.max_interval, "Longest wait between two attempts.")
    retry_factor: float = _option(INVOCATION_RETRY.factor, "Growth of that wait.")
    retry_max_attempts: int | None = _option(INVOCATION_RETRY.max_attempts, "Attempts in all.")
    retry_on_exhausted: OnExhausted = _option(INVOCATION_RETRY.on_exhausted, "What follows the last attempt: pause or fail.")
    deadlock: OnDeadlock = _option(OnDeadlock.ERROR, "What follows a cycle of calls that wait for each other: error or report.")
    deployment: tuple[str, ...] = _option((), "URL of an endpoint whose services run there, registered at the start; can be repeated.")
    descriptors: tuple[Path, ...] = _option(
        (),
        "Contracts of services whose endpoints send none along, as protoc --include_imports --descriptor_set_out writes them; "
        "can be repeated.",
    )
    request_identity_private_key: Path | None = _option(None, "PEM file of an Ed25519 key that signs requests to endpoints.")
    batch_size: int | None = _option(None, "Transitions in one commit, at most: 1 is for tests.")
    accept_data_loss: bool = _option(False, "Start although acknowledged data is missing from the data directory.")
    dev: bool = _option(False, "Report what does not belong in a handler, such as awaiting something foreign.")

    @property
    def retry(self) -> RetryPolicy:
        """The invocation retry policy."""
        return RetryPolicy(
            initial_interval=self.retry_initial_interval,
            max_interval=self.retry_max_interval,
            factor=self.retry_factor,
            max_attempts=self.retry_max_attempts,
            on_exhausted=self.retry_on_exhausted,
        )


def load_options(keywords: Mapping[str, Any], *, config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """The options from keywords, before the environment, before a TOML file, before the defaults.

    Args:
        keywords: options by name, typed or as text; `None` means not given.
        config: a TOML file with one key for each option.
        environ: where `RESTATE_RUNTIME_*` is looked up.

    Raises:
        RuntimeFault: RT0002 for an unknown option or a value that does not fit, RT0003 for a file that cannot be read.
    """
    known = {entry.name: entry for entry in fields(Options)}
    hints = typing.get_type_hints(Options)
    variable = environ.get(ENVIRONMENT_PREFIX + "CONFIG")
    if config is None and variable:
        config = Path(variable)
    given: dict[str, Any] = {}
    for source, values in (
        (str(config), _read_toml(config)),
        ("environment", _from_environment(environ, known)),
        ("option", {name: value for name, value in keywords.items() if value is not None}),
    ):
        for name, value in values.items():
            if name not in known:
                raise RuntimeFault("RT0002", f"{source}: there is no option '{name}'{_nearest(name, known)}")
            given[name] = _convert(value, hints[name], f"{source}: {name}")
    try:
        options = replace(Options(), **given)
        _ = options.retry
    except ValueError as error:
        raise RuntimeFault("RT0002", str(error)) from None
    return options


def defaults() -> dict[str, Any]:
    """Every option's default, by name."""
    return {entry.name: entry.default for entry in fields(Options) if entry.default is not MISSING}


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean '{near[0]}'?" if near else ""


def _read_toml(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        return {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text()).items()}
    except OSError as error:
        raise RuntimeFault("RT0003", f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RuntimeFault("RT0003", f"the configuration file {path} is no TOML: {error}") from None


# Variables with the prefix that are no options of a runtime: the command line reads them.
_OTHER_VARIABLES = frozenset({"ADMIN_URL", "CONFIG", "CRASH_AT", "INGRESS_URL"})


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Mapping[str, str]:
    found = {}
    for variable, value in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable[len(ENVIRONMENT_PREFIX) :]
            if name not in _OTHER_VARIABLES:
                found[name.lower()] = value
    return found


def _convert(value: Any, hint: Any, where: str) -> Any:
    wanted = hint
    if typing.get_origin(hint) is tuple:
        return tuple(_convert(item, typing.get_args(hint)[0], where) for item in _items(value))
    if isinstance(hint, types.UnionType):  # X | None
        wanted = next(part for part in typing.get_args(hint) if part is not type(None))
    try:
        return _convert_to(value, wanted)
    except (ValueError, TypeError) as error:
        raise RuntimeFault("RT0002", f"{where}: {error}") from None


def _items(value: Any) -> Sequence[Any]:
    """Several values: a list, or text with commas between them."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value if isinstance(value, (list, tuple)) else (value,)


def _convert_to(value: Any, wanted: type) -> Any:
    if wanted is timedelta:
        return _duration(value)
    if wanted is Path:
        if value == "":  # which would be the working directory
            raise ValueError("it is empty")
        if not isinstance(value, (str, os.PathLike)):
            raise ValueError(f"'{value}' is no path: write one as text")
        return Path(value)
    if issubclass(wanted, enum.Enum):
        try:
            return wanted(value)
        except ValueError:
            raise ValueError(f"'{value}' is not one of {', '.join(choice.value for choice in wanted)}") from None
    if wanted is bool:
        return _boolean(value)
    if wanted in (int, float) and not isinstance(value, bool):
        return _number(value, wanted)
    if isinstance(value, wanted) and not isinstance(value, bool):
        if isinstance(value, str) and storable(value) != value:
            raise ValueError(f"'{value}' is no UTF-8")
        return value
    raise ValueError(f"'{value}' does not fit")


def _duration(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (timedelta, str, int, float)):
        raise ValueError(f"'{value}' is no duration (write 500ms, 30s, 15m, 2h, 1d or PT15M)")
    duration = value if isinstance(value, timedelta) else parse_duration(value)
    if duration < timedelta(0):
        raise ValueError(f"'{value}' is negative")
    return duration


def _number(value: Any, wanted: type) -> int | float:
    try:
        number: int | float = wanted(value)
    except (ValueError, OverflowError):
        raise ValueError(f"'{value}' is not a number") from None
    if isinstance(value, float) and number != value:
        raise ValueError(f"{value} is not a whole number" if wanted is int else f"{value} is not a number")
    if not 0 < number < math.inf:
        raise ValueError(f"{value} is not above 0" if number <= 0 else f"{value} is not a number")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    match str(value).lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
        case _:
            raise ValueError(f"'{value}' is not true or false")
