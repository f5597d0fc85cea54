"""How `send --jsonl -` talks, and `send --jsonl --file F`: many messages, a line of the result
for each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from megabot_cli.commands.sending import (
    Ready,
    SendOptions,
    Wait,
    ask,
    lines_of,
    open_talk,
    parse_line,
)
from megabot_cli.errors import (
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    PartlyFailed,
    TimedOut,
)
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.terminal.progress import Progress

# Of what was not sent any more is told what stdin has; whoever writes on is not waited for.
_REST_S: Final = 1.0


async def send_lines(invocation: Invocation, options: SendOptions) -> None:
    """Send each line in its turn; each gives one line of the result.

    When time runs out, or the connection cannot be had again, what was not sent is told too.
    """
    from megabot_cli.commands.deadlines import deadline
    from megabot_cli.commands.waiting import waiting_for
    from megabot_cli.terminal.progress import Progress

    source = lines_of(options)
    waiting = waiting_for(invocation, direct=options.direct, limit_s=options.timeout_s)
    with Progress(invocation.console, "send") as progress:
        batch = _Batch(invocation, options, progress)
        try:
            async with (
                deadline(options.timeout_s, waiting),
                open_talk(invocation, options, waiting) as client,
            ):
                waiting.connected()
                batch.begun = True
                await batch.send_all(client, source)
        except MegabotError as fault:
            if not batch.begun:
                raise
            await batch.end_early(fault, source)
            raise batch.sum_up_early(fault) from None
    if batch.failed:
        raise PartlyFailed(
            f"{batch.failed} of {counted(batch.taken, 'message')} failed", "Their lines say why."
        )


@dataclass
class _Batch:
    """What has become of the lines so far."""

    invocation: Invocation
    options: SendOptions
    progress: Progress
    begun: bool = False
    number: int = 0  # of the line, as an editor counts: blank lines too
    taken: int = 0
    failed: int = 0
    unsent: int = 0
    under_way: bool = False
    written: str | None = None  # the id of the message under way, once it has left

    async def send_all(self, client: MegaBotClient, lines: AsyncIterator[str]) -> None:
        """Send them one after the other. Raises what leaves the others no chance."""
        from megabot_cli.commands.deadlines import Silence

        silence = Silence(client, self.options.idle_s)
        async for line in lines:
            if not self._take(line):
                continue
            async with silence.bounded():
                await self._send(client, line)

    def _take(self, line: str) -> bool:
        self.number += 1
        if not line.strip():
            return False
        self.taken += 1
        self.under_way, self.written = True, None
        return True

    async def _send(self, client: MegaBotClient, line: str) -> None:
        before = client.metrics().messages_sent
        try:
            message = parse_line(line, self.options.base)
            try:
                facts = await _exchange(client, self.options.wait, message)
            finally:
                if client.metrics().messages_sent > before:
                    self.written = message.message_id
        except MegabotError as fault:
            if _ends_all(fault, client):
                raise
            self._tell_failed(fault, fault.message)
        else:
            self._tell(facts)

    async def end_early(self, fault: MegabotError, lines: AsyncIterator[str]) -> None:
        """Tell of the message under way, and of all that were not sent any more."""
        import asyncio

        if self.under_way:
            self._tell_unanswered(fault)
        while True:
            try:
                async with asyncio.timeout(_REST_S):
                    line = await anext(lines)
            except (StopAsyncIteration, TimeoutError, MegabotError):
                return
            if self._take(line):
                self._tell_unanswered(fault)

    def sum_up_early(self, fault: MegabotError) -> MegabotError:
        """The fault that ended all, with what it left undone."""
        message = fault.message
        if isinstance(fault, TimedOut) and self.options.timeout_s is not None:
            message = f"The batch was not over within {self.options.timeout_s:g} s"
        unsent = f"; {self.unsent} of them not sent" if self.unsent else ""
        failed = f"{self.failed} of {counted(self.taken, 'message')} failed{unsent}"
        return type(fault)(
            f"{message}; {failed}",
            fault.hint or "Their lines say which.",
            retry_after_s=fault.retry_after_s,
            close_code=fault.close_code,
        )

    def _tell_unanswered(self, fault: MegabotError) -> None:
        if self.written is None:
            self.unsent += 1
            self._tell_failed(fault, f"not sent: {fault.message}")
        else:
            self._tell_failed(fault, f"sent, but not answered: {fault.message}")

    def _tell_failed(self, fault: MegabotError, message: str) -> None:
        self.failed += 1
        error = {"code": fault.code, "exit": fault.exit_code, "message": message}
        self._tell({**({"id": self.written} if self.written else {}), "error": error})

    def _tell(self, facts: dict[str, Any]) -> None:
        result = {"line": self.number, **facts}
        layout = self.options.layout
        shown = result if layout is None else layout.row_facts(result)
        self.invocation.console.line(_json_line(shown))
        self.progress.reach(self.taken, f"{self.failed} failed" if self.failed else "")
        self.under_way = False


def _ends_all(fault: MegabotError, client: MegaBotClient) -> bool:
    """Whether no further message has a chance; any other fault is about one message."""
    if isinstance(fault, ConnectionLost):
        return client.state == "closed"  # else it is dialled again, and the next ones may go
    return isinstance(fault, CouldNotConnect | NotAuthenticated)


async def _exchange(client: MegaBotClient, wait: Wait, message: Ready) -> dict[str, Any]:
    draft = message.draft
    if wait.until == "none":
        await client.send(
            draft.type, draft.payload, metadata=draft.metadata, message_id=message.message_id
        )
        return {"id": message.message_id}
    answer = await ask(client, message, until=wait.type or None)
    return {
        "id": message.message_id,
        "answer": answer.text,
        "chunks": answer.chunks,
        **({"missing": answer.missing} if answer.missing else {}),
        "first_chunk_s": _rounded(answer.first_chunk_s),
        "total_s": _rounded(answer.total_s),
        "reply": json.loads(answer.messages[-1]) if answer.messages else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _json_line(value: dict[str, Any]) -> str:
    from megabot_cli.terminal.text import safe_json

    return safe_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
