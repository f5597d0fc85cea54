"""`megabot chat`: talk, line by line."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.session_words import SessionWord
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.commands.values import ToolPrograms, programs
from megabot_cli.errors import WrongUsage


@forms("text")
@examples(
    ("megabot chat", "Talk; Ctrl-C stops an answer, Ctrl-D ends"),
    ("megabot chat --session sess_1m84gqk2e0mhw2czm", "Go on where you left"),
    ("megabot chat < questions.txt", "Each line is said when the one before is answered"),
)
@takes_no_more('It reads what you type; `megabot send "What is a relay?"` asks one thing.')
def chat(
    context: typer.Context,
    session: SessionWord = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new session, as without --session.")
    ] = False,
    tool: ToolPrograms = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Go around the relay, if one runs.")
    ] = False,
) -> None:
    """Talk with MegaBot, line by line.

    Answers stream as they come. On a terminal lines can be edited, the arrow keys bring back
    what was said before, and Alt-Enter begins a new line of the same message. Ctrl-C stops an
    answer and keeps what has come of it; a second one ends, as Ctrl-D does. /help shows what
    else can be typed: sessions, saving, the messages themselves. In a pipe every line is a
    message.
    """
    from megabot_cli.commands.chatting import converse
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    if new and session is not None:
        raise WrongUsage("--new and --session exclude each other", "Give one of them.")
    tools = programs(tool or (), "--tool")
    run(converse(invocation, session=session, direct=direct, tools=tools))
