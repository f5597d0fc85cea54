"""The options every command takes, as Typer reads them: before the command or after it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from megabot_cli.commands.invocation import Invocation
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
        invocation.options.output = value if isinstance(value, str) else str(option.name)


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
            help="Which upstream and identity [MEGABOT_PROFILE].",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            callback=_keep,
            expose_value=False,
            metavar="URL",
            help="Another address for the profile [MEGABOT_URL].",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            callback=_keep,
            expose_value=False,
            metavar="FILE",
            help="Another configuration file [MEGABOT_CONFIG].",
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
            help="Form of the result: text, json, jsonl, and what the command adds.",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", callback=_output, expose_value=False, help="Short for -o json."),
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", callback=_output, expose_value=False, help="Short for -o jsonl."),
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
            help="Say more on stderr.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", callback=_keep, expose_value=False, help="Say only errors on stderr."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", callback=_keep, expose_value=False, help="Log more, and show tracebacks."
        ),
    ] = False,
    log_format: Annotated[
        Literal["auto", "console", "json"] | None,
        typer.Option(
            "--log-format",
            callback=_keep,
            expose_value=False,
            help="Log lines for people or for machines; auto asks whether stderr is a terminal.",
        ),
    ] = None,
    color: Annotated[
        Literal["auto", "always", "never"] | None,
        typer.Option(
            "--color",
            callback=_keep,
            expose_value=False,
            help="Colour; auto heeds the terminal, NO_COLOR, FORCE_COLOR and TERM=dumb.",
        ),
    ] = None,
    no_input: Annotated[
        bool,
        typer.Option(
            "--no-input", callback=_keep, expose_value=False, help="Never ask; fail instead."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "-V",
            "--version",
            callback=_version,
            expose_value=False,
            is_eager=True,
            help="Print the version and stop.",
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
