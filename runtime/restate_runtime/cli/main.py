"""The command line `restate-runtime`."""

from __future__ import annotations

import difflib
import os
import sys
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import RuntimeFault
from ..serde import storable
from .awakeables import awakeables
from .calls import call, send
from .deployments import deployments
from .doctor import doctor, explain
from .endpoint import endpoint
from .gateway import gateway
from .identity import identity
from .look import invocations, state
from .serve import serve
from .services import services
from .shipped import hidden_modules

__all__ = ["cli", "main"]


class _Group(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"there is no command '{name}': {hint}", ctx)
        return super().resolve_command(ctx, args)


class _Text(click.types.StringParamType):
    """Text that can be stored and sent. Python lets bytes of a command line through that are no text, as half surrogate pairs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        if storable(text) != text:
            self.fail("it is no UTF-8", param, ctx)
        return text


def _take_text(command: click.Command) -> None:
    """Before a command does anything, all of its text is looked at. Paths are none: files may have any name."""
    for parameter in command.params:
        if parameter.type is click.STRING:
            parameter.type = _Text()
    if isinstance(command, click.Group):
        for subordinate in command.commands.values():
            _take_text(subordinate)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="restate-runtime")
def cli() -> None:
    """Hosts, calls and looks at services that are described by .proto contracts."""


for _command in (serve, endpoint, gateway, call, send, services, state, doctor, explain, invocations, awakeables, deployments, identity):
    cli.add_command(_command)
_take_text(cli)


def main() -> NoReturn:
    """Runs the command line: one line for each error, no traceback for a user's mistake."""
    try:
        status = cli.main(prog_name="restate-runtime", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later: no command at all, which is answered with the help
            error.show()
            sys.exit(error.exit_code)
        _fail(f"{_usage_message(error)} [RT0001]", 2)
    except click.ClickException as error:
        _fail(f"{error.format_message()} [RT0001]", 1)
    except RuntimeFault as fault:
        _fail(str(fault), fault.exit_status)
    except ModuleNotFoundError as error:
        hidden = hidden_modules() if (error.name or "").partition(".")[0] == "dev" else None
        if hidden is None:
            raise
        _fail(str(hidden), hidden.exit_status)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not stumble over the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)


def _usage_message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):  # click words it differently from release to release
        hint = f": did you mean '{error.possibilities[0]}'?" if error.possibilities else ""
        return f"there is no option '{error.option_name}'{hint}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return message[:1].lower() + message[1:]


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
