"""`megabot config profiles` and `config use`: which upstreams there are, and which is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.config import without_secrets
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.rows import LIST_FORMS, show_rows
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.config.load import Configuration, Given


@forms(*LIST_FORMS)
@examples(
    ("megabot config profiles", "Which there are, which is in force, where one is logged in"),
    ("megabot config profiles --fields profile,url", "For scripts"),
)
def profiles(
    context: typer.Context, fields: FieldsWord = None, template: TemplateWord = None
) -> None:
    """List the profiles.

    The one in force has a star. They come from the configuration file and from logins.
    """
    invocation: Invocation = context.obj
    configuration = invocation.look_at_configuration()
    names = ("profile", "in_force", "url", "source", "credential")
    rows = [
        _row(invocation, configuration, name) for name in sorted(configuration.settings.profiles)
    ]
    show_rows(
        invocation,
        rows,
        columns=names,
        fields=fields,
        template=template,
        table=lambda: _print(invocation, rows),
        nothing="There are no profiles.",
    )


def _row(invocation: Invocation, configuration: Configuration, name: str) -> dict[str, Any]:
    given = configuration.history[("profiles", name, "url")][-1]
    return {
        "profile": name,
        "in_force": name == configuration.history[("profile",)][-1].value,
        "url": without_secrets(given.value),
        "source": given.source.layer,
        "credential": _credential(invocation, configuration, name),
    }


def _credential(invocation: Invocation, configuration: Configuration, name: str) -> str | None:
    """Where the credential lies. A variable counts for the profile in force alone."""
    from megabot_cli.commands.upstream import is_from_environment

    if name == configuration.profile_name and is_from_environment(invocation):
        return "environment"
    return invocation.credentials.where(name)


def _print(invocation: Invocation, rows: list[dict[str, Any]]) -> None:
    from megabot_cli.terminal.views import print_table

    def words(row: dict[str, Any]) -> tuple[str, ...]:
        star = "*" if row["in_force"] else ""
        return (star, row["profile"], row["url"], row["source"], row["credential"] or "none")

    headings = ("", "profile", "url", "from", "credential")
    print_table(invocation.console, headings, [words(row) for row in rows])


@forms("text", "json")
@examples(
    ("megabot config use staging", "Every command without -p means it from now on"),
    ("megabot config use default", "Back"),
    ("megabot config use --forget", "What the configuration file says counts again"),
)
def use(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[PROFILE]", help="A profile there is.")
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget the choice that was made.")
    ] = False,
) -> None:
    """Choose the profile to use from now on.

    The choice is kept beside the credentials and outranks `profile:` of the configuration file,
    whatever that says later; MEGABOT_PROFILE and -p outrank it. `config show profile` tells
    where the choice came from.
    """
    from megabot_cli.commands.remembered import choose_profile

    invocation: Invocation = context.obj
    if (name is None) != forget:
        raise WrongUsage("Name a profile, or say --forget", "`megabot config profiles` lists them.")
    known, otherwise = _without_choice(invocation)
    if name is not None and name not in known:
        raise _unknown(name, known)
    # Nobody else names one: then there is nothing to outrank.
    needless = name == otherwise.value and otherwise.source.layer == "default"
    choose_profile(invocation.places.chosen_profile, None if needless else name)
    _report(invocation, name or otherwise.value)


def _without_choice(invocation: Invocation) -> tuple[list[str], Given]:
    """All profiles, and the one that would be used without a choice.

    What was chosen or named before may be gone: the one profile that is always there is named
    in its place.
    """
    from megabot_cli.commands.remembered import remembered_urls
    from megabot_cli.config.load import load
    from megabot_cli.config.schema import Settings

    configuration = load(
        invocation.config_text(),
        file=str(invocation.places.config_file),
        logins=remembered_urls(invocation.places.logins),
        profile=Settings().profile,
    )
    *below, _ = configuration.history[("profile",)]
    return sorted(configuration.settings.profiles), below[-1]


def _unknown(name: str, known: list[str]) -> NotFound:
    from megabot_cli.config.spelling import did_you_mean

    return NotFound(
        f"There is no profile {name!r}",
        did_you_mean(name, known)
        or f"Known: {', '.join(known)}. `megabot -p {name} login --url URL` adds it.",
    )


def _report(invocation: Invocation, name: str) -> None:
    outranked = invocation.environ.get("MEGABOT_PROFILE") or None
    if invocation.output == "json":
        invocation.console.json({"profile": name, "outranked_by": outranked})
        return
    invocation.console.note(f"The profile is {name!r} from now on.")
    if outranked is not None and outranked != name:
        invocation.console.warn(f"MEGABOT_PROFILE={outranked} outranks that until it is unset")
