"""How `chat` talks: what is said, one line after another, and the answer to each."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from megabot_cli.commands.chat_commands import Talk, obey
from megabot_cli.commands.relay_refusals import as_told_by_relay
from megabot_cli.commands.running import Interrupted
from megabot_cli.errors import (
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    WrongUsage,
)

if TYPE_CHECKING:
    from megabot_cli.client.answers import Answer
    from megabot_cli.client.connection import ClientEvent, MegaBotClient, Received
    from megabot_cli.client.flat import FlatClient
    from megabot_cli.commands.invocation import Invocation

Show = Callable[[str], None]

HISTORY_FILE = "chat-history"

# After these nothing more can be said; any other fault is about one message.
_FATAL = (ConnectionLost, CouldNotConnect, NotAuthenticated)


async def converse(
    invocation: Invocation,
    *,
    session: str | None,
    direct: bool,
    tools: Mapping[str, tuple[str, ...]],
) -> None:
    """Say each line and show what is answered, until there are no more."""
    flat = invocation.configuration.profile.dialect == "flat"
    if flat and (session is not None or tools):
        raise WrongUsage("The flat dialect has no sessions and no tools", "Leave them out.")
    opened = (
        _flat(invocation, direct=direct)
        if flat
        else _sessions(_SessionPartner(invocation, session, tools, direct=direct))
    )
    async with opened as partner:
        if invocation.console.in_is_terminal:
            await _with_a_person(invocation, partner)
        else:
            await _with_a_pipe(invocation, partner)


# -- whom we talk to ---------------------------------------------------------------------


class Partner(Protocol):
    """Who answers, in which session where there is one."""

    session: str | None

    async def say(self, text: str, show: Show, status: Show) -> Sequence[str]:
        """Return the messages of the answer when it has been shown. `status` gets what is told
        meanwhile."""
        ...

    def tell_faults(self) -> None:
        """Say what of the last answer did not come as it should."""
        ...

    async def go_on_in(self, session: str | None) -> None:
        """Talk in another session from here on; None begins a new one. NotFound when there is
        none such: then the talk stays where it was."""
        ...

    async def interrupt(self) -> None:
        """The answer under way is not wanted any more."""
        ...


class _SessionPartner:
    """One session, over one connection after another."""

    def __init__(
        self,
        invocation: Invocation,
        session: str | None,
        tools: Mapping[str, tuple[str, ...]],
        *,
        direct: bool,
    ) -> None:
        self._invocation = invocation
        self._direct = direct
        self._tools = tools
        self._status: Show | None = None
        self._away: str | None = None  # in a relay's words, while its upstream is away
        self._stack = contextlib.AsyncExitStack()
        self._client: MegaBotClient | None = None
        self._answer: Answer | None = None  # the last one
        self._error_will_say_it = False
        self.session = session

    async def open(self) -> None:
        await self._enter_asked(self.session, else_new="--new begins a new one.")

    async def _enter_asked(self, asked: str | None, *, else_new: str) -> None:
        """Talk in the session that was asked for; NotFound, and all is as it was, without it."""
        from megabot_cli.commands.asked_session import require_session, whole_session

        session = whole_session(self._invocation, asked, direct=self._direct)
        self._error_will_say_it = True
        stack = contextlib.AsyncExitStack()
        try:
            client = await stack.enter_async_context(self._connection(session))
            await require_session(
                self._invocation, client, session, direct=self._direct, else_new=else_new
            )
        except BaseException:
            await stack.aclose()
            raise
        finally:
            self._error_will_say_it = False
        await self.close()
        self._go_on_with(stack, client)

    def _connection(self, session: str | None) -> contextlib.AbstractAsyncContextManager[Any]:
        from megabot_cli.commands.upstream import open_client

        return open_client(
            self._invocation,
            session=session,
            direct=self._direct,
            on_event=self._tell,
            prepare=self._listen,
            query={"role": "executor"} if self._tools else None,
        )

    def _go_on_with(self, stack: contextlib.AsyncExitStack, client: MegaBotClient) -> None:
        from megabot_cli.commands.sending import add_tools

        add_tools(client, self._tools)
        self._stack, self._client = stack, client
        self.session = client.session_id

    def _listen(self, client: MegaBotClient) -> None:
        self._away = None
        client.on("status_update")(self._goes_on)

    async def close(self) -> None:
        await self._stack.aclose()

    def say_goodbye(self) -> None:
        console = self._invocation.console
        if console.in_is_terminal:
            console.note(f"To go on later: `megabot chat --session {self.session}`")

    async def say(self, text: str, show: Show, status: Show) -> Sequence[str]:
        assert self._client is not None
        self._status = status
        if self._away is not None:
            status(self._away)
        try:
            with as_told_by_relay(self._invocation, direct=self._direct):
                self._answer = await self._client.ask(text, on_chunk=show)
            return self._answer.messages
        finally:
            self._status = None

    def tell_faults(self) -> None:
        from megabot_cli.commands.answer_faults import tell_faults

        if self._answer is not None:
            tell_faults(self._invocation.console, self._answer)

    async def go_on_in(self, session: str | None) -> None:
        await self._enter_asked(session, else_new="`/session new` begins one.")

    async def interrupt(self) -> None:
        """The protocol has one word for that: to say goodbye. A relay keeps its link."""
        await self.close()
        stack = contextlib.AsyncExitStack()
        self._go_on_with(stack, await stack.enter_async_context(self._connection(self.session)))

    def _goes_on(self, received: Received) -> None:
        told = received.payload()
        if not isinstance(told, dict):
            return
        share = told.get("progress")
        percent = f"{share:.0%}" if isinstance(share, int | float) else ""
        words = (str(told.get("status") or ""), str(told.get("message") or ""), percent)
        line = "  ".join(word for word in words if word)
        if told.get("status") in ("reconnecting", "connected"):  # a relay, of its upstream
            self._away = line if told["status"] == "reconnecting" else None
        if self._status is not None:
            self._status(line)

    def _tell(self, event: ClientEvent) -> None:
        console = self._invocation.console
        if event.kind == "lost":
            self._away = None
            console.note(f"connection lost ({event.detail}); dialling again")
        elif event.kind == "resumed":
            rest = "; waiting for the rest, Ctrl-C stops that" if self._status is not None else ""
            console.note(f"connected again{rest}")
        elif event.kind == "new_session" and event.session_id != self.session:
            if self._error_will_say_it:
                return
            self.session = event.session_id
            console.warn(f"the session is gone; a new one is {event.session_id}")


class _FlatPartner:
    """An upstream without sessions."""

    session: str | None = None

    def __init__(self, invocation: Invocation, *, direct: bool) -> None:
        self._invocation = invocation
        self._direct = direct
        self._stack = contextlib.AsyncExitStack()
        self._client: FlatClient | None = None

    async def open(self) -> None:
        from megabot_cli.commands.flat_sending import open_flat_client

        opened = open_flat_client(self._invocation, direct=self._direct)
        self._client = await self._stack.enter_async_context(opened)

    async def close(self) -> None:
        await self._stack.aclose()

    async def say(self, text: str, show: Show, status: Show) -> Sequence[str]:
        assert self._client is not None
        with as_told_by_relay(self._invocation, direct=self._direct):
            answer = await self._client.ask(text)
        show(answer.content if answer.content is not None else answer.text)
        return [answer.text]

    def tell_faults(self) -> None:
        """An answer is one message there: it comes whole or not at all."""

    async def go_on_in(self, session: str | None) -> None:
        raise WrongUsage("The flat dialect has no sessions")

    async def interrupt(self) -> None:
        """What still comes on this connection would be taken for the next answer."""
        await self.close()
        await self.open()


@asynccontextmanager
async def _sessions(partner: _SessionPartner) -> AsyncIterator[Partner]:
    import asyncio

    try:
        await partner.open()
        try:
            yield partner
        except (Interrupted, asyncio.CancelledError):
            partner.say_goodbye()
            raise
        partner.say_goodbye()
    finally:
        await partner.close()


@asynccontextmanager
async def _flat(invocation: Invocation, *, direct: bool) -> AsyncIterator[Partner]:
    partner = _FlatPartner(invocation, direct=direct)
    try:
        await partner.open()
        yield partner
    finally:
        await partner.close()


# -- who talks ---------------------------------------------------------------------------


async def _with_a_pipe(invocation: Invocation, partner: Partner) -> None:
    from megabot_cli.terminal.stdin import lines

    async for line in lines():
        if line.strip():
            await _say(invocation, partner, line, Talk())


async def _with_a_person(invocation: Invocation, partner: Partner) -> None:
    from megabot_cli.terminal.line_editor import LineEditor
    from megabot_cli.terminal.text import safe_text

    console, talk = invocation.console, Talk()
    editor = LineEditor(invocation.places.state / HISTORY_FILE)
    console.note("Alt-Enter begins a new line; Ctrl-C stops an answer, Ctrl-D ends; /help.")
    stopped = False

    async def next_text() -> str | None:
        try:
            return await editor.read(
                interrupted=stopped,
                again_ends=lambda: console.note("Ctrl-C again, or Ctrl-D, ends"),
            )
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None

    while not talk.over and (text := await next_text()) is not None:
        stopped = False
        if not text.strip():
            continue
        try:
            if text.startswith("/") and not text.startswith("//"):
                await obey(text, console, partner, talk)
            elif not await _say_until_stopped(invocation, partner, text.removeprefix("/"), talk):
                stopped = True
                console.note("stopped; what came is above; Ctrl-C again ends")
                await partner.interrupt()
        except _FATAL:
            raise
        except MegabotError as fault:
            console.error_line(safe_text(f"error: {fault.message}"))
            if fault.hint:
                console.error_line(safe_text(f"  {fault.hint}"))


async def _say(invocation: Invocation, partner: Partner, text: str, talk: Talk) -> None:
    from megabot_cli.terminal.markdown_stream import MarkdownStream
    from megabot_cli.terminal.status_line import StatusLine
    from megabot_cli.terminal.text import safe_text

    console = invocation.console
    markdown = MarkdownStream() if console.out_is_terminal and console.color else None
    came: list[str] = []

    def show(piece: str) -> None:
        came.append(piece)
        safe = safe_text(piece)
        console.stream(markdown.feed(safe) if markdown is not None else safe)

    with StatusLine(console) as status:
        try:
            talk.messages = await partner.say(text, show, status.say)
        finally:
            if markdown is not None:
                console.stream(markdown.end())
            console.end_line()
            talk.turns.append((text, "".join(came)))
    partner.tell_faults()


async def _say_until_stopped(
    invocation: Invocation, partner: Partner, text: str, talk: Talk
) -> bool:
    """False when Ctrl-C ended the answer."""
    import asyncio

    from megabot_cli.commands.running import on_signals

    answering = asyncio.ensure_future(_say(invocation, partner, text, talk))
    stopped = False

    def stop(_: int) -> None:
        nonlocal stopped
        stopped = True
        answering.cancel()

    with on_signals(("SIGINT",), stop):
        try:
            await answering
        except asyncio.CancelledError:
            if not stopped:
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answering
                raise
    return not stopped
