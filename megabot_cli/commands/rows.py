"""A list as a result: a table for people, JSON for programs, or the fields one asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.layout_words import layout

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation

# The forms of a list. `table` is what `text` is, for those who like to say it.
LIST_FORMS = ("text", "table", "json", "jsonl")


def show_rows(
    invocation: Invocation,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Sequence[str],
    fields: str | None,
    template: str | None,
    nothing: str,
    table: Callable[[], None] | None = None,
) -> None:
    """Print `rows` in the form asked for. `table` prints them for people, where that is more
    than their values; `nothing` is said to them where there are none, and `columns` are then
    the fields that can be asked for."""
    from megabot_cli.terminal.text import safe_json, safe_line

    console, form = invocation.console, invocation.output
    chosen = layout(fields, template, form, tuple(rows[0]) if rows else columns)
    if form in ("json", "jsonl"):
        shown = list(rows) if chosen is None else [chosen.row_facts(row) for row in rows]
        if form == "json":
            console.line(safe_json(json.dumps(shown, ensure_ascii=False, indent=2)))
        for row in shown if form == "jsonl" else ():
            console.line(safe_json(json.dumps(row, ensure_ascii=False)))
    elif not rows:
        console.note(nothing)
    elif chosen is not None:
        for row in rows:
            console.line(chosen.row_line(row, safe_line))
    elif table is not None:
        table()
    else:
        from megabot_cli.terminal.views import print_table

        print_table(console, tuple(rows[0]), [tuple(map(str, row.values())) for row in rows])


def show_facts(
    invocation: Invocation, facts: Mapping[str, Any], fields: str | None, template: str | None
) -> None:
    """Print of one set of facts what was asked for; one of the two words was given."""
    from megabot_cli.terminal.text import safe_json, safe_line

    chosen = layout(fields, template, invocation.output, tuple(facts))
    assert chosen is not None
    if invocation.output == "json":
        text = json.dumps(chosen.row_facts(facts), ensure_ascii=False)
        invocation.console.line(safe_json(text))
    else:
        invocation.console.line(chosen.row_line(facts, safe_line))
