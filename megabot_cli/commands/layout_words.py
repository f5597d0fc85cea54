"""The words that say what is shown of each record: `--fields` and `--template`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.errors import NotFound, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from megabot_cli.recording.layout import Layout

FieldsWord = Annotated[
    str | None,
    typer.Option("--fields", metavar="A,B.C", help="Show these fields only: id,payload.code."),
]
TemplateWord = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="TEXT|@FILE",
        help="Show each as this text: '{time} {type} {payload.content}'.",
    ),
]


def layout(
    fields: str | None,
    template: str | None,
    form: str,
    names: Sequence[str] | None = None,
) -> Layout | None:
    """What the words say of records, or of rows with fields of these `names`; None where neither
    was given.

    WrongUsage for what makes no sense.
    """
    if fields is None and template is None:
        return None  # as mostly: nothing is loaded for it
    from pathlib import Path

    from megabot_cli.recording.layout import parse_fields, parse_template

    if fields is not None and template is not None:
        raise WrongUsage("--fields and --template exclude each other", "Give one of them.")
    if form == "raw" or (form in ("json", "jsonl") and template is not None):
        raise WrongUsage(f"-o {form} has a form of its own", "Leave one of the two out.")
    if fields is not None:
        return parse_fields(fields, names)
    assert template is not None
    if template.startswith("@"):
        try:
            template = Path(template[1:]).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as fault:
            why = getattr(fault, "strerror", None) or "it is no UTF-8 text"
            raise NotFound(
                f"Cannot read the template {template[1:]}: {why}", "@FILE names a file."
            ) from None
    return parse_template(template, names)
