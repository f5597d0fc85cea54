"""How `send` talks to an upstream of the flat dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.errors import (
    BadConfiguration,
    BadData,
    MegabotError,
    NotAuthenticated,
    WrongUsage,
)

if TYPE_CHECKING:
    from megabot_cli.client.flat import FlatAnswer, FlatClient
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.replies import Replies
    from megabot_cli.commands.sending import Draft, SendOptions
    from megabot_cli.commands.waiting import Waiting

_SIMPLER = "Use --timeout, and --wait type:TYPE."
_ONE_BY_ONE = "Send one message at a time, or let a script do it."


def preview_flat(invocation: Invocation, options: SendOptions) -> None:
    """Print the message exactly as it would be sent."""
    invocation.console.line(_text(options))


async def converse_flat(invocation: Invocation, options: SendOptions) -> None:
    """Send the message and show what is answered, within the deadline."""
    from megabot_cli.commands.deadlines import deadline
    from megabot_cli.commands.sending import what_ends
    from megabot_cli.commands.waiting import waiting_for

    text = _text(options)  # what is not valid is refused before anybody is dialled
    waiting = waiting_for(invocation, direct=options.direct, limit_s=options.timeout_s)
    async with (
        deadline(options.timeout_s, waiting),
        waiting.told(),
        open_flat_client(invocation, direct=options.direct) as client,
    ):
        client.on_status = waiting.hear
        waiting.connected(*what_ends(options.wait))
        await client.send_text(text)
        await _show_answers(invocation, client, options, waiting)


@asynccontextmanager
async def open_flat_client(
    invocation: Invocation, *, direct: bool = False
) -> AsyncIterator[FlatClient]:
    """A connected client: through the running relay unless `direct`, else upstream."""
    from megabot_cli.client.flat import FlatClient
    from megabot_cli.commands.upstream import (
        client_token,
        open_http,
        relay_tls,
        ssl_for,
        token_source,
        with_login_hint,
    )

    configuration = invocation.configuration
    profile, limits = configuration.profile, configuration.settings.limits
    if profile.integrity.key_file is not None or profile.integrity.require:
        raise BadConfiguration(
            "The flat dialect has no place for signatures",
            "Leave the profile's integrity out, or its dialect.",
        )
    given: dict[str, Any] = {
        "platform": profile.platform,
        "messages_per_second": limits.messages_per_second,
        "burst": limits.burst,
        "queue": limits.queue,
        "max_message_bytes": limits.max_message_bytes,
    }
    relay = None if direct else invocation.running_relay()
    if relay is not None:
        invocation.console.detail(f"through the relay {relay.url}")
        token = client_token(Path(relay.token_file))
        given["ssl"] = relay_tls(relay)
        try:
            async with FlatClient(relay.url, token=token, send_in="header", **given) as client:
                yield client
        except MegabotError as fault:
            from megabot_cli.commands.relay_refusals import said_by_relay

            raise said_by_relay(fault, relay) from None
        return
    invocation.console.detail(f"straight to {profile.url}")
    async with open_http(invocation) as http:
        given |= {"tokens": token_source(invocation, http), "ssl": ssl_for(profile), "http": http}
        try:
            async with FlatClient(profile.url, **given) as client:
                yield client
        except NotAuthenticated as refusal:
            hinted = with_login_hint(invocation, refusal)
            if hinted is refusal:
                raise
            hint = (hinted.hint or "").replace(" login", " login --api-key-stdin", 1)
            raise NotAuthenticated(hinted.message, hint) from None


def _text(options: SendOptions) -> str:
    """The message as it travels. WrongUsage for what the dialect has no place for."""
    from megabot_cli.protocol import flat

    draft = options.draft
    if draft is None:
        raise WrongUsage("--jsonl with - or --file is not there in the flat dialect", _ONE_BY_ONE)
    if draft.metadata:
        raise WrongUsage("A flat message has no place for --metadata")
    if options.tools or options.record is not None or "attachments" in draft.payload:
        raise WrongUsage("--tool, --attach and --record are not there in the flat dialect")
    if options.idle_s is not None or options.wait.until == "condition":
        raise WrongUsage("--idle-timeout and --until are not there in the flat dialect", _SIMPLER)
    if options.session is not None:
        raise WrongUsage("The flat dialect has no sessions", "Leave --session out.")
    text = flat.write(_type_of(draft), draft.payload).decode()
    problem = flat.check(text)
    if problem is not None:
        raise BadData(f"this message is not valid: {problem}")
    return text


def _type_of(draft: Draft) -> str:
    return "message" if draft.type == "chat_send" else draft.type


async def _show_answers(
    invocation: Invocation, client: FlatClient, options: SendOptions, waiting: Waiting
) -> None:
    from megabot_cli.commands.replies import Replies
    from megabot_cli.protocol import flat

    assert options.draft is not None
    replies = Replies(invocation, options.layout)
    match options.wait.until:
        case "reply":
            kinds = flat.ANSWERS[_type_of(options.draft)]
            answer = await client.next_of(kinds)
            waiting.over()
            _show(invocation, replies, answer)
        case "type":
            for _ in range(options.wait.count):
                answer = await client.next_of(options.wait.type)
                waiting.over()
                _show(invocation, replies, answer)


def _show(invocation: Invocation, replies: Replies, answer: FlatAnswer) -> None:
    """Its words; all of it where it has none, or where more than words is wanted."""
    import time

    from megabot_cli.client.received import Received
    from megabot_cli.protocol.envelope import peek
    from megabot_cli.terminal.text import safe_json, safe_text

    if not replies.only_words:
        replies.show(Received(answer.text, peek(answer.text), time.time()), None)
    elif answer.content is not None:
        invocation.console.line(safe_text(answer.content))
    else:
        invocation.console.line(safe_json(answer.text))
