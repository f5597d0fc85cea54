"""How `tool` calls one, follows it, and shows what it gave."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.rows import show_facts
from megabot_cli.errors import ExpectationFailed, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.client.connection import Received
    from megabot_cli.commands.invocation import Invocation


@dataclass(frozen=True)
class ToolCall:
    """Which tool, with what, and where."""

    name: str
    parameters: dict[str, Any]
    session: str | None
    timeout_s: float | None
    direct: bool
    fields: str | None = None
    template: str | None = None


async def call(invocation: Invocation, wanted: ToolCall) -> None:
    """Show the result. ExpectationFailed when the tool failed."""
    from megabot_cli.client.ids import new_id
    from megabot_cli.commands.asked_session import require_session
    from megabot_cli.commands.deadlines import deadline
    from megabot_cli.commands.upstream import open_client
    from megabot_cli.commands.waiting import waiting_for
    from megabot_cli.terminal.progress import Progress

    if invocation.configuration.profile.dialect == "flat":
        raise WrongUsage("The flat dialect has no tools to call", "Use a profile without it.")
    execution_id = new_id("exec")
    payload = {
        "tool_name": wanted.name,
        "parameters": wanted.parameters,
        "execution_id": execution_id,
    }
    waiting = waiting_for(invocation, direct=wanted.direct, limit_s=wanted.timeout_s)
    async with (
        deadline(wanted.timeout_s, waiting),
        waiting.told(),
        open_client(
            invocation, session=wanted.session, direct=wanted.direct, prepare=waiting.watch
        ) as client,
    ):
        waiting.connected()
        await require_session(invocation, client, wanted.session, direct=wanted.direct)
        with ExitStack() as shown:
            bar: Progress | None = None

            @client.on("status_update")
            def goes_on(received: Received) -> None:
                nonlocal bar
                told = received.payload()
                if not isinstance(told, dict) or told.get("task_id") not in (None, execution_id):
                    return
                share = told.get("progress")
                if bar is None:
                    if not isinstance(share, int | float):
                        return
                    waiting.over()
                    bar = shown.enter_context(Progress(invocation.console, wanted.name, 100))
                done = share if isinstance(share, int | float) else 0.0
                bar.reach(round(done * 100), str(told.get("message") or ""))

            answer = await client.request("tool_call", payload)
    _show(invocation, wanted, answer.messages[-1])


def _show(invocation: Invocation, wanted: ToolCall, text: str) -> None:
    from megabot_cli.protocol.envelope import open_envelope
    from megabot_cli.terminal.text import safe_line, safe_text

    envelope = open_envelope(text)
    payload = envelope.decoded_payload() if envelope is not None else None
    given = payload if isinstance(payload, dict) else {}
    result, output = given.get("result"), given.get("output")
    failed = given.get("status") != "completed"
    if (wanted.fields is not None or wanted.template is not None) and given:
        show_facts(invocation, given, wanted.fields, wanted.template)
    elif invocation.output == "json":
        invocation.console.json(given)
    elif not failed:
        words = result if isinstance(result, str) else None
        if result is None and isinstance(output, str):
            words = output
        if words is None:
            invocation.console.json(result)
        else:
            invocation.console.line(safe_text(words))
    if failed:
        said = safe_line(output) if isinstance(output, str) and output else "it did not say why"
        raise ExpectationFailed(f"The tool {wanted.name} failed: {said}")
