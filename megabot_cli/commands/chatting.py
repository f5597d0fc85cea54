"""How `chat` talks: what is said, one line after another, and the answer to each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from megabot_cli.errors import (
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    WrongUsage,
)

if TYPE_CHECKING:
    from megabot_cli.client.connection import ClientEvent, MegaBotClient
    from megabot_cli.client.flat import FlatClient
    from megabot_cli.commands.invocation import Invocation

Show = Callable[[str], None]

HISTORY_FILE = "chat-history"

# After these nothing more can be said; any other fault is about one message.
_FATAL = (ConnectionLost, CouldNotConnect, NotAuthenticated)


async def converse(invocation: Invocation, *, session: str | None, direct: bool) -> None:
    """Say each line and show what is answered, until there are no more."""
    flat = invocation.configuration.profile.dialect == "flat"
    if flat and session is not None:
        raise WrongUsage("The flat dialect has no sessions", "Leave --session out.")
    opened = (
        _flat(invocation, direct=direct) if flat else _sessions(invocation, session, direct=direct)
    )
    async with opened as partner:
        if invocation.console.in_is_terminal:
            await _with_a_person(invocation, partner)
        else:
            await _with_a_pipe(invocation, partner)


# -- whom we talk to ---------------------------------------------------------------------


class Partner(Protocol):
    """Who answers."""

    async def say(self, text: str, show: Show) -> None:
        """Return when the answer has been shown."""
        ...

    async def interrupt(self) -> None:
        """The answer under way is not wanted any more."""
        ...


class _SessionPartner:
    """One session, over one connection after another."""

    def __init__(self, invocation: Invocation, session: str | None, *, direct: bool) -> None:
        self._invocation = invocation
        self._direct = direct
        self._stack = contextlib.AsyncExitStack()
        self._client: MegaBotClient | None = None
        self.session = session

    async def open(self) -> None:
        from megabot_cli.commands.upstream import open_client

        opened = open_client(
            self._invocation, session=self.session, direct=self._direct, on_event=self._tell
        )
        self._client = await self._stack.enter_async_context(opened)
        self.session = self._client.session_id

    async def close(self) -> None:
        await self._stack.aclose()

    async def say(self, text: str, show: Show) -> None:
        assert self._client is not None
        await self._client.ask(text, on_chunk=show)

    async def interrupt(self) -> None:
        """The protocol has one word for that: to say goodbye. A relay keeps its link."""
        await self.close()
        await self.open()

    def _tell(self, event: ClientEvent) -> None:
        console = self._invocation.console
        if event.kind == "lost":
            console.note(f"connection lost ({event.detail}); dialling again")
        elif event.kind == "resumed":
            console.note("connected again")
        elif event.kind == "new_session" and event.session_id != self.session:
            console.warn(f"the session is gone; a new one is {event.session_id}")


class _FlatPartner:
    """An upstream without sessions."""

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

    async def say(self, text: str, show: Show) -> None:
        assert self._client is not None
        answer = await self._client.ask(text)
        show(answer.content if answer.content is not None else answer.text)

    async def interrupt(self) -> None:
        """What still comes on this connection would be taken for the next answer."""
        await self.close()
        await self.open()


@asynccontextmanager
async def _sessions(
    invocation: Invocation, session: str | None, *, direct: bool
) -> AsyncIterator[Partner]:
    partner = _SessionPartner(invocation, session, direct=direct)
    try:
        await partner.open()
        yield partner
        if invocation.console.in_is_terminal:
            invocation.console.note(f"To go on later: megabot chat --session {partner.session}")
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
            await _say(invocation, partner, line)


async def _with_a_person(invocation: Invocation, partner: Partner) -> None:
    from megabot_cli.terminal.line_editor import LineEditor

    console = invocation.console
    editor = LineEditor(invocation.places.state / HISTORY_FILE)
    console.note("Alt-Enter begins a new line; Ctrl-C stops an answer, Ctrl-D ends.")
    while (text := await editor.read()) is not None:
        if not text.strip():
            continue
        try:
            if not await _say_until_stopped(invocation, partner, text):
                console.note("stopped; what came is above")
                await partner.interrupt()
        except _FATAL:
            raise
        except MegabotError as fault:
            console.error_line(f"error: {fault.message}")
            if fault.hint:
                console.error_line(f"  {fault.hint}")


async def _say(invocation: Invocation, partner: Partner, text: str) -> None:
    from megabot_cli.terminal.text import safe_text

    console = invocation.console
    try:
        await partner.say(text, lambda piece: console.stream(safe_text(piece)))
    finally:
        console.end_line()


async def _say_until_stopped(invocation: Invocation, partner: Partner, text: str) -> bool:
    """False when Ctrl-C ended the answer."""
    import asyncio

    from megabot_cli.commands.serving import on_signals

    answering = asyncio.ensure_future(_say(invocation, partner, text))
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
