"""The words that choose messages, the same in `tail`, `recordings show` and `replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection

Direction = Literal["to_upstream", "to_client"]

TypeWord = Annotated[
    list[str] | None,
    typer.Option("-t", "--type", metavar="GLOB", help="Only these message types (chat_*)."),
]
DirectionWord = Annotated[
    Direction | None, typer.Option("--direction", help="Only what goes this way.")
]
SessionWord = Annotated[
    list[str] | None, typer.Option("-s", "--session", metavar="ID", help="Only these sessions.")
]
ClientWord = Annotated[
    list[str] | None, typer.Option("--client", metavar="ID", help="Only these clients.")
]
GrepWord = Annotated[
    str | None,
    typer.Option("--grep", metavar="RE", help="Only messages this regular expression finds."),
]


def selection(
    types: list[str] | None,
    direction: str | None,
    sessions: list[str] | None,
    clients: list[str] | None,
    grep: str | None,
) -> Selection:
    from megabot_cli.recording.selection import Selection

    return Selection(
        types=tuple(types or ()),
        direction=direction,
        sessions=tuple(sessions or ()),
        clients=tuple(clients or ()),
        grep=grep,
    )
