"""`megabot tool`: have the upstream run one of its tools."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.session_words import SessionWord
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.commands.values import duration, json_object, pairs


@forms("text", "json")
@examples(
    ("megabot tool time", "What time is it there?"),
    ("megabot tool echo --param text=hello --param times=2", "Parameters, one by one"),
    ('megabot tool echo --params \'{"text": "hello"}\' --json', "As JSON, and all of the answer"),
    ("megabot tool echo --param n=3 --fields status,result.n", "Fields of the answer"),
)
@takes_no_more("As in `megabot tool echo --param text=hello`; --params takes all as JSON.")
def tool(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tool.")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="K=V", help="A parameter; V is JSON or text."),
    ] = None,
    params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="All parameters, an object.")
    ] = None,
    session: SessionWord = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="Give up after this (3); else never.",
        ),
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Go around the relay, if one runs.")
    ] = False,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """Have MegaBot run a tool and print its result.

    The result goes to stdout: text as it is, anything else as JSON. How far a long one has
    come shows on a terminal. A tool that fails ends with 13, and what it said is the error.
    """
    from megabot_cli.commands.asked_session import whole_session
    from megabot_cli.commands.running import run
    from megabot_cli.commands.tool_call import ToolCall, call

    invocation: Invocation = context.obj
    parameters = json_object(params, "--params") if params is not None else {}
    parameters |= pairs(param or (), "--param")
    whole = whole_session(invocation, session, direct=direct)
    run(call(invocation, ToolCall(name, parameters, whole, timeout, direct, fields, template)))
