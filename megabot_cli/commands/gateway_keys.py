"""API keys of a gateway with `--data DIR`.

Only hashes are kept: a key is shown when it is made and never again. A gateway that runs on
DIR follows within a second, without a restart.
"""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.gateway_users import DataFolder, UserName, users_in
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.rows import LIST_FORMS, show_rows
from megabot_cli.commands.tree import examples, forms

EXAMPLES = (
    ("megabot gateway keys add ann --data DIR", "Make one; it is shown once"),
    ("megabot gateway keys list --data DIR", "Whose there are"),
)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as list shows it.")]


@forms(*LIST_FORMS)
@examples(("megabot gateway keys list --data DIR", "Whose keys there are"))
def list_keys(
    context: typer.Context,
    data: DataFolder,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """List the API keys.

    The id is the beginning of the key's hash.
    """
    with users_in(data) as users:
        rows = [{"id": key_id, "user": name} for key_id, name in users.api_keys()]
    nothing = f"There are no API keys in {data}."
    names = ("id", "user")
    show_rows(context.obj, rows, columns=names, fields=fields, template=template, nothing=nothing)


@forms("text", "json")
@examples(("export MEGABOT_API_KEY=$(megabot gateway keys add ann --data DIR)", "Make and use one"))
def add(context: typer.Context, name: UserName, data: DataFolder) -> None:
    """Make an API key.

    It is printed, only this once.
    """
    with users_in(data) as users:
        key = users.add_api_key(name)
    invocation: Invocation = context.obj
    if invocation.output == "json":
        invocation.console.json({"name": name, "key": key})
    else:
        invocation.console.line(key)


@forms("text", "json")
@examples(("megabot gateway keys revoke 0123456789abcdef --data DIR", "Nobody comes in with it"))
def revoke(context: typer.Context, key_id: KeyId, data: DataFolder) -> None:
    """Revoke an API key.

    A running gateway closes the connections that came with it.
    """
    with users_in(data) as users:
        name = users.remove_api_key(key_id)
    invocation: Invocation = context.obj
    if invocation.output == "json":
        invocation.console.json({"id": key_id, "name": name, "revoked": True})
    invocation.console.note(f"A key of {name} is revoked.")
