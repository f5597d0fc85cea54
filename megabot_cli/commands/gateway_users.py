"""Who may log in at a gateway with `--data DIR`.

A gateway that runs on DIR follows within a second, without a restart. Each change is in the
data file when the command ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.rows import LIST_FORMS, show_rows
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.gateway.accounts import Users

EXAMPLES = (
    ("megabot gateway users add ann --data DIR", "Make one; its password is made and printed"),
    ("megabot gateway users list --data DIR", "Who may log in"),
)

DataFolder = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="The gateway's data folder.")
]
UserName = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin.")
]


@contextlib.contextmanager
def users_in(folder: Path) -> Iterator[Users]:
    """The users in a data folder, beside the gateway that may be running on it."""
    from megabot_cli.gateway.accounts import Users
    from megabot_cli.gateway.ledger import Ledger

    with contextlib.closing(Ledger.share(folder)) as ledger:
        yield Users.open(ledger)


@forms(*LIST_FORMS)
@examples(("megabot gateway users list --data DIR", "Who may log in"))
def list_users(
    context: typer.Context,
    data: DataFolder,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """List the users."""
    with users_in(data) as users:
        found = [users.by_name(name) for name in users.names]
    rows = [{"name": user.name, "user_id": user.user_id} for user in found if user is not None]
    nothing = f"There are no users in {data}."
    names = ("name", "user_id")
    show_rows(context.obj, rows, columns=names, fields=fields, template=template, nothing=nothing)


@forms("text", "json")
@examples(("pass show ann | megabot gateway users add ann --password-stdin --data DIR", "Make one"))
def add(
    context: typer.Context, name: UserName, data: DataFolder, password_stdin: PasswordStdin = False
) -> None:
    """Make a user.

    Without --password-stdin a password is made and printed, only this once.
    """
    import secrets

    invocation: Invocation = context.obj
    given = asked_password(invocation, name) if password_stdin else None
    with users_in(data) as users:
        if users.by_name(name) is not None:
            raise WrongUsage(
                f"There is a user {name} already",
                f"megabot gateway users password {name} changes the password.",
            )
        made = given or secrets.token_urlsafe(12)
        users.add(name, made)
    _show_made(invocation, name, made if given is None else None)
    invocation.console.note(f"{name} may log in.")


@forms("text", "json")
@examples(
    ("pass show ann | megabot gateway users password ann --password-stdin --data DIR", "Change it")
)
def password(
    context: typer.Context, name: UserName, data: DataFolder, password_stdin: PasswordStdin = False
) -> None:
    """Change a password.

    Without --password-stdin a password is made and printed, only this once. Tokens that were
    given before stay good until they end; remove the user to withdraw them.
    """
    import secrets

    from megabot_cli.errors import NotFound

    invocation: Invocation = context.obj
    given = asked_password(invocation, name) if password_stdin else None
    with users_in(data) as users:
        if users.by_name(name) is None:
            raise NotFound(f"There is no user {name}.", "megabot gateway users add makes one.")
        made = given or secrets.token_urlsafe(12)
        users.add(name, made)
    _show_made(invocation, name, made if given is None else None)
    invocation.console.note(f"The password of {name} is another one now.")


@forms("text", "json")
@examples(("megabot gateway users remove ann --data DIR", "With keys, tokens and sessions"))
def remove(context: typer.Context, name: UserName, data: DataFolder) -> None:
    """Remove a user.

    The user's keys, tokens and sessions go too, and a running gateway closes the connections.
    """
    with users_in(data) as users:
        users.remove(name)
    invocation: Invocation = context.obj
    if invocation.output == "json":
        invocation.console.json({"name": name, "removed": True})
    invocation.console.note(f"{name} may not come in any more.")


def _show_made(invocation: Invocation, name: str, password: str | None) -> None:
    """A password that was made stands here, this once, and nowhere else."""
    if invocation.output == "json":
        invocation.console.json({"name": name, "password": password})
    elif password is not None:
        invocation.console.line(password)


def asked_password(invocation: Invocation, name: str) -> str:
    """What --password-stdin brings: from a pipe, or hidden from a person at the terminal."""
    from megabot_cli.terminal.stdin import read_secret

    question = f"Password of {name}: " if invocation.may_ask else None
    return read_secret("--password-stdin", question)
