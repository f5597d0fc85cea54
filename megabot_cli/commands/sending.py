"""How `send` talks: one message and its answer; many at once are for `sending_lines`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from megabot_cli.errors import (
    BadData,
    MegabotError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from megabot_cli.client.answers import Answer
    from megabot_cli.client.connection import ClientEvent, MegaBotClient
    from megabot_cli.client.observing import MessageLog
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.waiting import Waiting
    from megabot_cli.recording.layout import Layout

# What there may be in the result of a line.
RESULT_NAMES = (
    "line", "id", "answer", "chunks", "first_chunk_s", "total_s", "reply", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Wait:
    """What ends the wait after a message: its reply, nothing, `count` messages of a type, or
    so many for which a condition holds."""

    until: Literal["reply", "none", "type", "condition"]
    type: str = ""
    count: int = 1
    condition: str = ""  # CEL over a record of each message that comes


@dataclass(frozen=True)
class Draft:
    """A message before it has an id."""

    type: str
    payload: Any
    metadata: dict[str, Any]


@dataclass(frozen=True)
class SendOptions:
    """What `send` was asked to do. `session` and `direct` say where it goes; `tools` are the
    programs that carry out MegaBot's tool calls, by the tool's name."""

    draft: Draft | None  # None: many messages come on stdin or in `lines_in`, one a line
    base: Draft
    wait: Wait
    timeout_s: float | None
    stream: bool
    session: str | None
    direct: bool
    or_new: bool = False  # where the session is gone, a new one will do
    idle_s: float | None = None
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    record: Path | None = None  # keep what passes as a recording in this folder
    lines_in: Path | None = None
    layout: Layout | None = None  # what is shown of each message, or of each line's result


@dataclass(frozen=True)
class Ready:
    """A draft with its id."""

    draft: Draft
    message_id: str


def preview(invocation: Invocation, options: SendOptions) -> None:
    """Print each message exactly as it would be sent."""
    from megabot_cli.commands.running import run

    if invocation.configuration.profile.dialect == "flat":
        from megabot_cli.commands.flat_sending import preview_flat

        preview_flat(invocation, options)
        return
    if options.draft is not None:
        invocation.console.line(_text(_ready(options.draft)))
        return
    run(_preview_lines(invocation, options))


async def _preview_lines(invocation: Invocation, options: SendOptions) -> None:
    async for line in lines_of(options):
        if line.strip():
            invocation.console.line(_text(parse_line(line, options.base)))


def lines_of(options: SendOptions) -> AsyncIterator[str]:
    """Those of the file that was named, or of stdin."""
    from megabot_cli.commands.given_files import open_to_read
    from megabot_cli.terminal.stdin import lines

    if options.lines_in is None:
        return lines()
    return lines(open_to_read(options.lines_in), str(options.lines_in))


def _ready(draft: Draft) -> Ready:
    from megabot_cli.client.ids import new_id

    return Ready(draft, new_id("msg"))


def _text(message: Ready) -> str:
    """The message as JSON; BadData when it breaks the specification."""
    from megabot_cli.protocol.envelope import build
    from megabot_cli.protocol.validation import check

    draft = message.draft
    text = build(
        message.message_id, draft.type, draft.payload, at=time.time(), metadata=draft.metadata
    )
    problem = check(text)
    if problem is not None:
        raise BadData(f"this message is not valid: {problem}")
    return text


def said_quickly(invocation: Invocation, options: SendOptions) -> bool:
    """Send one message that waits for nothing, where that goes without the real client."""
    from megabot_cli.commands.quick_send import send_quickly

    if options.draft is None or options.wait.until != "none" or options.record is not None:
        return False
    return send_quickly(invocation, options, _text(_ready(options.draft)))


async def converse(invocation: Invocation, options: SendOptions) -> None:
    """Send what there is and show what is answered, within the deadline."""
    if invocation.configuration.profile.dialect == "flat":
        from megabot_cli.commands.flat_sending import converse_flat

        await converse_flat(invocation, options)
        return
    if options.draft is None:
        from megabot_cli.commands.sending_lines import send_lines

        await send_lines(invocation, options)
        return
    message = _ready(options.draft)
    _text(message)  # what is not valid is refused before anybody is dialled
    from megabot_cli.commands.deadlines import Silence, deadline
    from megabot_cli.commands.waiting import waiting_for

    waiting = waiting_for(invocation, direct=options.direct, limit_s=options.timeout_s)
    async with (
        deadline(options.timeout_s, waiting),
        waiting.told(),
        open_talk(invocation, options, waiting) as client,
        Silence(client, options.idle_s).bounded(),
    ):
        waiting.connected(*what_ends(options.wait))
        await _send_one(invocation, client, options, message, waiting)


@asynccontextmanager
async def open_talk(
    invocation: Invocation, options: SendOptions, waiting: Waiting | None = None
) -> AsyncIterator[MegaBotClient]:
    """A client in the session that was asked for; NotFound where that is gone."""
    from megabot_cli.commands.asked_session import OR_NEW, require_session

    warns, is_lost = options.or_new, False

    def tell(event: ClientEvent) -> None:
        nonlocal is_lost
        if event.kind == "lost":
            is_lost = True
            invocation.console.note(f"connection lost ({event.detail}); dialling again")
        elif event.kind == "new_session" and warns:
            invocation.console.warn(f"the session is gone; a new one is {event.session_id}")
        elif event.kind == "resumed" and is_lost:
            is_lost = False
            invocation.console.note("connected again; waiting for the rest")
        elif event.kind in ("open", "resumed"):
            invocation.console.detail(f"{event.kind}: session {event.session_id}")

    async with AsyncExitStack() as opened:
        log: int | MessageLog = 0
        if options.record is not None:
            from megabot_cli.commands.kept_messages import kept_messages

            log = opened.enter_context(kept_messages(invocation, options.record, "send"))
        client = await opened.enter_async_context(
            _open_logged(invocation, options, tell, log, waiting)
        )
        if not options.or_new:
            await require_session(
                invocation,
                client,
                options.session,
                direct=options.direct,
                else_new=OR_NEW,
            )
        warns = True
        yield client


@asynccontextmanager
async def _open_logged(
    invocation: Invocation,
    options: SendOptions,
    tell: Callable[[ClientEvent], None],
    log: int | MessageLog,
    waiting: Waiting | None,
) -> AsyncIterator[MegaBotClient]:
    from megabot_cli.commands.upstream import open_client

    # A relay has a tool call carried out by one of its clients: by us, if we have the tool.
    role = {"role": "executor"} if options.tools else None
    async with open_client(
        invocation,
        session=options.session,
        direct=options.direct,
        prepare=waiting.watch if waiting is not None else None,
        on_event=tell,
        query=role,
        log_messages=log,
    ) as client:
        add_tools(client, options.tools)
        yield client


def add_tools(client: MegaBotClient, tools: Mapping[str, tuple[str, ...]]) -> None:
    """Have MegaBot's calls of these tools carried out by these programs."""
    from megabot_cli.client.tool_programs import ToolProgram

    for name, command in tools.items():
        client.tool(name)(ToolProgram(command))


# One message


def what_ends(wait: Wait) -> tuple[str, str]:
    """What is waited for, and the words for when it does not come."""
    match wait.until:
        case "type":
            # One of several may have come.
            whole = "No" if wait.count == 1 else f"Not {wait.count} of"
            return wait.type, f"{whole} {wait.type} came"
        case "condition":
            return "what --until wants", "No message for which --until holds came"
        case _:
            return "an answer", "No whole answer came"


async def _send_one(
    invocation: Invocation,
    client: MegaBotClient,
    options: SendOptions,
    message: Ready,
    waiting: Waiting,
) -> None:
    draft = message.draft
    if options.wait.until == "reply":
        await _show_reply(invocation, client, options, message, waiting)
        return
    await client.send(
        draft.type, draft.payload, metadata=draft.metadata, message_id=message.message_id
    )
    if options.wait.until in ("type", "condition"):
        await _show_matching(invocation, client, options, message.message_id)


async def _show_reply(
    invocation: Invocation,
    client: MegaBotClient,
    options: SendOptions,
    message: Ready,
    waiting: Waiting,
) -> None:
    from megabot_cli.commands.answer_faults import tell_faults
    from megabot_cli.commands.replies import Replies
    from megabot_cli.terminal.text import safe_text

    console, replies = invocation.console, Replies(invocation, options.layout)
    shown: list[str] = []

    def show(chunk: str) -> None:
        waiting.over()
        shown.append(chunk)
        console.stream(safe_text(chunk))

    as_it_comes = replies.only_words and options.stream
    try:
        answer = await ask(client, message, on_chunk=show if as_it_comes else None)
    finally:
        console.end_line()
    if not shown:
        replies.show_answer(answer, client.session_id)
    tell_faults(console, answer)


async def ask(client: MegaBotClient, message: Ready, **more: Any) -> Answer:
    draft = message.draft
    return await client.request(
        draft.type, draft.payload, metadata=draft.metadata, message_id=message.message_id, **more
    )


async def _show_matching(
    invocation: Invocation, client: MegaBotClient, options: SendOptions, message_id: str
) -> None:
    """Show the next `count` messages that are waited for."""
    from megabot_cli.commands.replies import Replies, ends_the_wait

    replies, is_wanted = Replies(invocation, options.layout), ends_the_wait(options.wait)
    seen = 0
    async for received in client:
        head = received.head
        if head is None or isinstance(received.text, bytes):
            continue
        if head.type == "connection_error" and head.reply_to == message_id:
            raise _refusal(received.payload())
        if is_wanted(received):
            replies.show(received, client.session_id)
            seen += 1
            if seen == options.wait.count:
                return


def _refusal(payload: Any) -> MegabotError:
    from megabot_cli.client.refusals import refusal_error, refusal_from

    return refusal_error(refusal_from(payload), "The upstream")


def parse_line(line: str, base: Draft) -> Ready:
    """A line of stdin: a JSON object is an envelope, anything else is text to say."""
    from megabot_cli.commands.values import json_object

    if not line.lstrip().startswith("{"):
        return _ready(replace(base, payload={**base.payload, "content": line}))
    envelope = json_object(line, "the line")
    metadata = envelope.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadData("the metadata of the line is no JSON object", 'Write {"name": value}.')
    kind = str(envelope.get("type", base.type))
    made = _ready(Draft(kind, envelope.get("payload"), {**base.metadata, **metadata}))
    message_id = envelope.get("id")
    return replace(made, message_id=message_id) if isinstance(message_id, str) else made
