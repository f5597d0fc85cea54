"""Tell of an answer whose chunks did not come as they should: once each, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from megabot_cli.wording import counted, missing_chunks

if TYPE_CHECKING:
    from megabot_cli.client.answers import Answer
    from megabot_cli.terminal.console import Console


def tell_faults(console: Console, answer: Answer) -> None:
    """A part that is missing, for everybody; what could be put right, with -v."""
    if answer.missing:
        console.warn(missing_chunks(answer.missing))
    elif answer.holes or answer.repeats:
        holes, repeats = counted(answer.holes, "hole"), counted(answer.repeats, "repeat")
        console.detail(f"the answer's chunks were put in order: {holes}, {repeats}")
