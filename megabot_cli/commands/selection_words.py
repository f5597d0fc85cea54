"""The words that choose messages, the same in `tail`, `recordings` and `replay`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from megabot_cli.commands.values import MostlyOneOf, NumberOr
from megabot_cli.errors import BadData, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.recording.conditions import Condition
    from megabot_cli.recording.selection import Selection

Direction = Literal["to_upstream", "to_client"]
Body = Callable[..., None]

# For the shell to offer; a glob is anything.
MESSAGE_TYPES = (
    "connection_established", "connection_error", "chat_send", "chat_receive", "chat_stream",
    "status_update", "notification", "tool_call", "tool_result", "session_join",
    "collaborative_action", "batch",
)  # fmt: skip

TypeWord = Annotated[
    list[str] | None,
    typer.Option(
        "-t",
        "--type",
        metavar="GLOB",
        parser=MostlyOneOf(*MESSAGE_TYPES),
        help="Only these message types (chat_*).",
    ),
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
UserWord = Annotated[
    list[str] | None, typer.Option("--user", metavar="ID", help="Only these users.")
]
LinkWord = Annotated[
    list[str] | None,
    typer.Option("--link", metavar="ID", help="Only these connections upstream."),
]
IdWord = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="Only messages with these ids.")
]
GrepWord = Annotated[
    str | None,
    typer.Option("--grep", metavar="RE", help="Only messages this regular expression finds."),
]
WhereWord = Annotated[
    str | None,
    typer.Option("--where", metavar="CEL", help="Only where this holds: payload.code >= 500."),
]
FromWord = Annotated[
    str | None,
    typer.Option("--from", metavar="PLACE", help="From here: 12.5s, n=100, 14:02:10 or a mark."),
]
UntilWord = Annotated[
    str | None, typer.Option("--until", metavar="PLACE", help="Up to here, not included.")
]
LimitWord = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="The first N only, in all.")
]
AroundWord = Annotated[
    int | None,
    typer.Option(
        "--around",
        metavar="[N]",
        parser=NumberOr(5),
        help="With N (5) records before and after each.",
    ),
]

WORDS: dict[str, Any] = {
    "types": TypeWord,
    "direction": DirectionWord,
    "session": SessionWord,
    "client": ClientWord,
    "user": UserWord,
    "link": LinkWord,
    "message_id": IdWord,
    "grep": GrepWord,
    "where": WhereWord,
    "begin": FromWord,
    "until": UntilWord,
    "limit": LimitWord,
    "around": AroundWord,
}


_FLAGS = {
    "types": "--type",
    "direction": "--direction",
    "sessions": "--session",
    "clients": "--client",
    "users": "--user",
    "links": "--link",
    "ids": "--id",
    "grep": "--grep",
    "where": "--where",
    "begin": "--from",
    "until": "--until",
}


def flags_of(wanted: Selection) -> list[str]:
    """The words that were used to choose, as they are written."""
    return [flag for name, flag in _FLAGS.items() if getattr(wanted, name)]


def selecting(*left_out: str) -> Callable[[Body], Body]:
    """Give a command the words: its parameter `wanted` gets the `Selection` they make.

    `left_out` names those that a command has no use for.
    """
    words = {name: word for name, word in WORDS.items() if name not in left_out}

    def attach(body: Body) -> Body:
        @wraps(body)
        def command(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in words}
            warn_of_misspelt(given["context"].obj, chosen.get("types") or ())
            body(wanted=selection(**chosen), **given)

        # `wanted` is for the checker only; all else Typer reads.
        hints = get_type_hints(body, localns={"Selection": Any}, include_extras=True)
        signature = inspect.signature(body)
        own = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name])
            for each in signature.parameters.values()
        ]
        place = [each.name for each in own].index("wanted")
        own[place : place + 1] = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None
            )
            for name, annotation in words.items()
        ]
        command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in own}
        return command

    return attach


def warn_of_misspelt(invocation: Invocation, types: Iterable[str], flag: str = "--type ") -> None:
    """Types may be anything, so one that is nearly one of those we know is no error."""
    for each in types:
        if each in MESSAGE_TYPES or not each.isidentifier():
            continue
        from megabot_cli.config.spelling import did_you_mean

        if meant := did_you_mean(each, MESSAGE_TYPES, near=0.85):
            invocation.console.warn(f"{flag}{each} is none of the specification's. {meant}")


def selection(
    types: list[str] | None = None,
    direction: str | None = None,
    session: list[str] | None = None,
    client: list[str] | None = None,
    *,
    user: list[str] | None = None,
    link: list[str] | None = None,
    message_id: list[str] | None = None,
    grep: str | None = None,
    where: str | None = None,
    begin: str | None = None,
    until: str | None = None,
    limit: int | None = None,
    around: int | None = None,
) -> Selection:
    """WrongUsage when a place is none, or a condition."""
    from megabot_cli.recording.bounds import parse_place
    from megabot_cli.recording.selection import Selection

    if where is not None:
        condition(where, "--where")
    return Selection(
        types=tuple(types or ()),
        direction=direction,
        sessions=tuple(session or ()),
        clients=tuple(client or ()),
        users=tuple(user or ()),
        links=tuple(link or ()),
        ids=tuple(message_id or ()),
        grep=grep,
        where=where,
        begin=parse_place(begin, "--from") if begin is not None else None,
        until=parse_place(until, "--until") if until is not None else None,
        limit=limit,
        around=around or 0,
    )


def condition(text: str, flag: str) -> Condition:
    """What was typed after `flag`. WrongUsage, with the column, when it is no condition."""
    from megabot_cli.recording.conditions import Condition

    try:
        return Condition(text)
    except BadData as fault:
        raise WrongUsage(f"{flag}: {fault.message}", fault.hint) from None
