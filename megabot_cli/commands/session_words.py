"""How a command is told which session to go on in."""

from __future__ import annotations

from typing import Annotated

import typer

SessionWord = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--session",
        metavar="ID",
        help="Go on in this session; of the relay's, the end will do.",
    ),
]
