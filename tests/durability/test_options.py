"""Every option by keyword, environment and TOML file (R30, R45)."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import OnExhausted, RuntimeFault
from restate_runtime.engine.options import OnDeadlock, Options, load_options

from .harness import app

# Each option: as text, as a TOML literal, and what both mean.
VALUES: dict[str, tuple[str, str, Any]] = {
    "data_dir": ("some/where", '"some/where"', Path("some/where")),
    "ingress": ("127.0.0.1:0", '"127.0.0.1:0"', "127.0.0.1:0"),
    "admin": ("[::1]:9070", '"[::1]:9070"', "[::1]:9070"),
    "max_message_size": ("1000", "1000", 1000),
    "inactivity_timeout": ("1h30m", '"1h30m"', timedelta(minutes=90)),
    "request_identity_private_key": ("key.pem", '"key.pem"', Path("key.pem")),
    "abort_timeout": ("5m", '"5m"', timedelta(minutes=5)),
    "always_suspend": ("true", "true", True),
    "max_live_handlers": ("7", "7", 7),
    "idempotency_retention": ("PT15M", '"PT15M"', timedelta(minutes=15)),
    "journal_retention": ("2d", '"2d"', timedelta(days=2)),
    "shutdown_timeout": ("2.5", "2.5", timedelta(seconds=2.5)),
    "retry_initial_interval": ("20ms", '"20ms"', timedelta(milliseconds=20)),
    "retry_max_interval": ("3s", "3", timedelta(seconds=3)),
    "retry_factor": ("1.5", "1.5", 1.5),
    "retry_max_attempts": ("9", "9", 9),
    "retry_on_exhausted": ("fail", '"fail"', OnExhausted.FAIL),
    "deadlock": ("report", '"report"', OnDeadlock.REPORT),
    "deployment": ("http://a:1, http://b:2", '["http://a:1", "http://b:2"]', ("http://a:1", "http://b:2")),
    "descriptors": ("a.binpb,b.binpb", '["a.binpb", "b.binpb"]', (Path("a.binpb"), Path("b.binpb"))),
    "batch_size": ("1", "1", 1),
    "accept_data_loss": ("yes", "true", True),
    "dev": ("on", "true", True),
}


def test_every_option_is_here() -> None:
    assert set(VALUES) == {entry.name for entry in fields(Options)}
    assert all(getattr(Options(), name) != value for name, (_, _, value) in VALUES.items()), "each differs from its default"
    assert all(entry.metadata["help"].endswith(".") for entry in fields(Options))


@pytest.mark.rule("R30")
@pytest.mark.parametrize("name", VALUES)
def test_an_option_from_everywhere(name: str, tmp_path: Path) -> None:
    text, literal, value = VALUES[name]
    config = tmp_path / "runtime.toml"
    variable = {f"RESTATE_RUNTIME_{name.upper()}": text}
    assert getattr(load_options({name: value}, environ={}), name) == value
    assert getattr(load_options({name: text}, environ={}), name) == value
    assert getattr(load_options({}, environ=variable), name) == value
    for spelling in (name, name.replace("_", "-")):
        config.write_text(f"{spelling} = {literal}\n")
        assert getattr(load_options({}, config=config, environ={}), name) == value
        assert getattr(load_options({}, environ={"RESTATE_RUNTIME_CONFIG": str(config)}), name) == value
    # And `app.start` takes it as a keyword.
    app().start(**{name: value})


@pytest.mark.rule("R30")
def test_what_comes_first(tmp_path: Path) -> None:
    config = tmp_path / "runtime.toml"
    config.write_text("max_live_handlers = 1\nbatch_size = 1\nmax_message_size = 1")
    environ = {"RESTATE_RUNTIME_MAX_LIVE_HANDLERS": "2", "RESTATE_RUNTIME_BATCH_SIZE": "2", "OTHER_MAX_MESSAGE_SIZE": "9"}
    options = load_options({"max_live_handlers": 3, "batch_size": None}, config=config, environ=environ)
    assert (options.max_live_handlers, options.batch_size, options.max_message_size) == (3, 2, 1)
    assert load_options({}, environ={}) == Options()


@pytest.mark.rule("R30")
def test_the_retry_policy_of_the_options() -> None:
    policy = load_options({"retry_initial_interval": "1s", "retry_max_attempts": 3, "retry_on_exhausted": "fail"}, environ={}).retry
    assert (policy.initial_interval, policy.max_attempts, policy.on_exhausted) == (timedelta(seconds=1), 3, OnExhausted.FAIL)


@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    ("name", "nearest"),
    [("inactivity_timout", "inactivity_timeout"), ("datadir", "data_dir"), ("always_suspended", "always_suspend"), ("zzz", None)],
)
def test_an_unknown_option_is_refused_with_the_nearest(name: str, nearest: str | None, tmp_path: Path) -> None:
    config = tmp_path / "runtime.toml"
    config.write_text(f"{name} = 1\n")
    sources: list[tuple[str, dict[str, Any]]] = [
        ("option", {"keywords": {name: 1}, "environ": {}}),
        ("environment", {"keywords": {}, "environ": {f"RESTATE_RUNTIME_{name.upper()}": "1"}}),
        (str(config), {"keywords": {}, "environ": {}, "config": config}),
    ]
    for source, given in sources:
        with pytest.raises(RuntimeFault) as error:
            load_options(**given)
        assert error.value.code == "RT0002"
        assert source in error.value.message
        assert f"'{name}'" in error.value.message
        assert ("did you mean" in error.value.message) == (nearest is not None)
        assert nearest is None or f"'{nearest}'" in error.value.message


BAD: list[tuple[str, Any]] = [
    ("max_message_size", "32MiB"),
    ("max_message_size", 0),
    ("max_message_size", -1),
    ("max_message_size", 2.5),
    ("max_message_size", "2.5"),
    ("max_message_size", True),
    ("max_message_size", [1]),
    ("max_live_handlers", ""),
    ("batch_size", 0),
    ("retry_factor", 0.5),
    ("retry_factor", "nan"),
    ("retry_factor", "inf"),
    ("retry_factor", float("nan")),
    ("retry_max_attempts", 0),
    ("retry_on_exhausted", "stop"),
    ("retry_on_exhausted", 1),
    ("inactivity_timeout", "soon"),
    ("inactivity_timeout", "-1s"),
    ("inactivity_timeout", -1),
    ("inactivity_timeout", timedelta(seconds=-1)),
    ("inactivity_timeout", "nan"),
    ("inactivity_timeout", True),
    ("inactivity_timeout", [1]),
    ("inactivity_timeout", "999999999999d"),
    ("always_suspend", "maybe"),
    ("always_suspend", 2),
    ("always_suspend", ""),
    ("ingress", 8080),
    ("admin", True),
    ("data_dir", 5),
    ("data_dir", ""),
]


@pytest.mark.rule("R45")
@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value!r}" for name, value in BAD])
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RuntimeFault) as error:
        load_options({name: value}, environ={})
    assert error.value.code == "RT0002"
    assert name.removeprefix("retry_") in error.value.message
    assert "\n" not in error.value.message
    if isinstance(value, str):
        with pytest.raises(RuntimeFault, match="environment: ") as from_environment:
            load_options({}, environ={f"RESTATE_RUNTIME_{name.upper()}": value})
        assert from_environment.value.code == "RT0002"


@pytest.mark.rule("R45")
@pytest.mark.parametrize("content", [b"this is = = no toml", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    config = tmp_path / "runtime.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(RuntimeFault) as error:
        load_options({}, config=config, environ={})
    assert error.value.code == "RT0003"
    assert str(config) in error.value.message


@pytest.mark.rule("R45")
def test_a_path_in_the_file_is_text(tmp_path: Path) -> None:
    file = tmp_path / "runtime.toml"
    file.write_text("data_dir = 5")
    with pytest.raises(RuntimeFault, match=r"runtime\.toml: data_dir: '5' is no path: write one as text"):
        load_options({}, config=file, environ={})


def test_a_table_in_the_file_is_no_option(tmp_path: Path) -> None:
    config = tmp_path / "runtime.toml"
    config.write_text("[retry]\nfactor = 2\n")
    with pytest.raises(RuntimeFault, match="there is no option 'retry'"):
        load_options({}, config=config, environ={})
