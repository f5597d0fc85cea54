"""`megabot config init`: a configuration file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import BadConfiguration, WrongUsage

SCHEMA_NAME = "config.schema.json"


@forms("text", "json")
@examples(
    ('$EDITOR "$(megabot config init)"', "Begin with one and edit it"),
    ("megabot config init --config ./megabot.yaml", "A file of a project"),
)
def init(
    context: typer.Context,
    yes: Annotated[
        bool,
        typer.Option("-y", "--yes", help="Also where one is; the old one gets the ending .bak."),
    ] = False,
) -> None:
    """Write a configuration file to begin with.

    Every setting stands in it as a comment with its default, so that it changes nothing yet.
    Beside it goes a JSON Schema, by which editors complete and check it.
    """
    invocation: Invocation = context.obj
    path = invocation.places.config_file
    kept = _make_way(path, replace=yes)
    schema = path.with_name(SCHEMA_NAME)
    _write(path, schema)
    if invocation.output == "json":
        facts = {"config": path, "schema": schema, "backup": kept}
        shown = {name: str(each) if each else None for name, each in facts.items()}
        invocation.console.json(shown)
        return
    if kept is not None:
        invocation.console.note(f"The old file is {kept} now.")
    invocation.console.line(str(path))
    invocation.console.note("Every setting stands in it, none is set: remove a # to set one.")


def _make_way(path: Path, *, replace: bool) -> Path | None:
    """Move a file that is there already aside, if that may be; return where it is then."""
    if not path.exists() and not path.is_symlink():
        return None
    if not path.is_file():
        raise WrongUsage(f"{path} is no file", "--config names another.")
    if not replace:
        raise WrongUsage(
            f"{path} is there already", "--yes replaces it and keeps the old one as .bak."
        )
    from megabot_cli.storage.private_files import replace_private

    kept = path.with_name(f"{path.name}.bak")
    try:
        # The content, not the name: where the file is a link, it stays one.
        replace_private(kept, path.read_bytes())
    except OSError as fault:
        raise _unwritable(kept, fault) from None
    return kept


def _write(path: Path, schema: Path) -> None:
    from megabot_cli.config.documents import example_file, json_schema
    from megabot_cli.storage.private_files import replace_private

    target = path.resolve()
    try:
        replace_private(schema, json_schema().encode())
        replace_private(target, example_file(SCHEMA_NAME).encode())
    except OSError as fault:
        raise _unwritable(path, fault) from None


def _unwritable(path: Path, fault: OSError) -> BadConfiguration:
    return BadConfiguration(
        f"{path} cannot be written: {fault.strerror or fault}", "--config names another place."
    )
