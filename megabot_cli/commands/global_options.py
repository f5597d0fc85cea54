"""The options every command takes, as Typer reads them: before the command or after it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from megabot_cli.commands.front_page import MEANING
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.values import MostlyOneOf
from megabot_cli.version import __version__


def _keep(context: typer.Context, option: typer.CallbackParam, value: Any) -> None:
    """Note what was given; what was not leaves the place before the command its say."""
    if value and option.name:
        invocation: Invocation = context.obj
        setattr(invocation.options, option.name, value)


def _add(context: typer.Context, option: typer.CallbackParam, value: int) -> None:
    invocation: Invocation = context.obj
    invocation.options.verbose += value


def _output(context: typer.Context, option: typer.CallbackParam, value: Any) -> None:
    invocation: Invocation = context.obj
    if value:
        name = value if isinstance(value, str) else str(option.name)
        # Lines of JSON are JSON: with both flags it is lines, also those that `send` reads.
        if (invocation.options.output, name) != ("jsonl", "json"):
            invocation.options.output = name


def _version(context: typer.Context, option: typer.CallbackParam, value: bool) -> None:
    if value:
        typer.echo(f"megabot {__version__}")
        raise typer.Exit


def _declaration(
    profile: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--profile",
            callback=_keep,
            expose_value=False,
            metavar="PROFILE",
            help=MEANING["profile"],
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            callback=_keep,
            expose_value=False,
            metavar="URL",
            help=MEANING["url"],
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            callback=_keep,
            expose_value=False,
            metavar="FILE",
            help=MEANING["config"],
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            callback=_output,
            expose_value=False,
            metavar="FORM",
            parser=MostlyOneOf("text", "table", "json", "jsonl", "raw"),
            help=MEANING["output"],
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", callback=_output, expose_value=False, help=MEANING["json"]),
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", callback=_output, expose_value=False, help=MEANING["jsonl"]),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            callback=_add,
            expose_value=False,
            show_default=False,
            help=MEANING["verbose"],
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", callback=_keep, expose_value=False, help=MEANING["quiet"]),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", callback=_keep, expose_value=False, help=MEANING["debug"]),
    ] = False,
    log_format: Annotated[
        Literal["auto", "console", "json"] | None,
        typer.Option(
            "--log-format",
            callback=_keep,
            expose_value=False,
            help=MEANING["log_format"],
        ),
    ] = None,
    color: Annotated[
        Literal["auto", "always", "never"] | None,
        typer.Option(
            "--color",
            callback=_keep,
            expose_value=False,
            help=MEANING["color"],
        ),
    ] = None,
    no_input: Annotated[
        bool,
        typer.Option("--no-input", callback=_keep, expose_value=False, help=MEANING["no_input"]),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "-V",
            "--version",
            callback=_version,
            expose_value=False,
            is_eager=True,
            help=MEANING["version"],
        ),
    ] = False,
) -> None:
    """Never called: Typer reads the options from it."""


@cache
def global_options() -> list[Any]:
    """The options as Typer's own objects; they hold no state, so all commands share them."""
    program = typer.Typer(add_completion=False, rich_markup_mode=None)
    program.command()(_declaration)
    return list(typer.main.get_command(program).params)
