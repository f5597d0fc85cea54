"""The work of `megabot replay`: play, steer, report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.replay_report import Stage, judge, print_lines, show, write_files
from megabot_cli.errors import (
    ConnectionLost,
    MegabotError,
    NotAuthenticated,
    NotFound,
    WrongUsage,
)
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.serving_recording import OpenRecording
    from megabot_cli.recording.selection import Selection
    from megabot_cli.replay.controls import Controls
    from megabot_cli.replay.conversation import Conversation
    from megabot_cli.replay.player import Replay
    from megabot_cli.replay.recorded_message import RecordedMark
    from megabot_cli.terminal.progress import Progress

_REFRESH_S = 0.2


def show_plan(invocation: Invocation, stage: Stage) -> None:
    """Say what would be done."""
    from megabot_cli.commands.recordings import open_source
    from megabot_cli.replay.plan import make_plan

    with open_source(invocation, stage.source) as reader:
        plan = make_plan(reader, stage.options, stage.rounds)
    target = invocation.configuration.profile.url
    if invocation.output == "json":
        invocation.console.json({**plan.as_dict(), "to": target})
        return
    print_lines(invocation, [f"to           {target}", *plan.lines()])


def show_answering(invocation: Invocation, recording: OpenRecording, listen: str) -> None:
    """Say what would be served to clients, and where."""
    served = recording.served
    served.payloads.close()
    requests = sum(len(numbers) for numbers in served.exchanges.alike.values())
    sessions = len(served.exchanges.lanes)
    if invocation.output == "json":
        facts = {"to": "clients", "listen": listen, "requests": requests, "sessions": sessions}
        invocation.console.json({**facts, "upstream": served.upstream})
        return
    lines = [
        f"to            clients that come to {listen}",
        f"would answer  {counted(requests, 'request')} of {counted(sessions, 'session')}",
        *((f"recorded at   {served.upstream}",) if served.upstream else ()),
    ]
    print_lines(invocation, lines)


def read(invocation: Invocation, stage: Stage) -> Conversation:
    """What is to be played, before anything begins: a signal may still end that at once.
    Whoever has read it closes it.

    NotFound where nothing of it would be sent.
    """
    from megabot_cli.commands.recordings import open_source
    from megabot_cli.replay.conversation import read_conversation

    with open_source(invocation, stage.source) as reader:
        conversation = read_conversation(reader, stage.options)
    if not conversation.to_send():
        conversation.close()
        raise _nothing_to_send(conversation, stage.options.selection)
    return conversation


async def play(invocation: Invocation, stage: Stage, conversation: Conversation) -> None:
    """Play it and show the report, also where it was interrupted or the connection was lost.

    ExpectationFailed when the answers, the lateness or a budget are not what was asked.
    """
    import asyncio
    import gc

    from megabot_cli.commands.upstream import open_http, token_source, with_login_hint
    from megabot_cli.replay.player import Replay

    replay: Replay | None = None
    try:
        async with open_http(invocation) as http:
            tokens = token_source(invocation, http)

            def new_client(_name: str, session: str | None) -> MegaBotClient:
                return _client(invocation, stage, session, http=http, tokens=tokens)

            replay = Replay(
                conversation, stage.options, new_client, with_cases=stage.junit is not None
            )
            gc.freeze()  # a large conversation looked through for garbage makes messages late
            async with _watched(invocation, stage, replay), _steered(invocation, stage, replay):
                played = await replay.play(stage.rounds)
    except asyncio.CancelledError:
        if replay is not None and replay.rounds_begun:
            invocation.console.note("interrupted; this is how far it came")
            show(invocation, stage, replay.so_far(interrupted=True))
        write_files(invocation, stage, replay, ("interrupted", "Somebody interrupted it"))
        raise
    except MegabotError as fault:
        if replay is not None and replay.has_sent:
            lost = isinstance(fault, ConnectionLost)
            what = "the connection was lost" if lost else "a client that came later was refused"
            invocation.console.note(f"{what}; this is how far it came")
            show(invocation, stage, replay.so_far())
        write_files(invocation, stage, replay, (fault.code, fault.message))
        if isinstance(fault, NotAuthenticated):
            raise with_login_hint(invocation, fault) from None
        raise
    budgets = show(invocation, stage, played)
    unwritten = write_files(invocation, stage, replay)
    judge(stage, played, budgets)
    if unwritten is not None:
        raise unwritten


def _nothing_to_send(conversation: Conversation, wanted: Selection) -> NotFound:
    """A replay of nothing would pass for one in which all was well."""
    held_back = conversation.held_back()
    if held_back:
        count, why = sum(held_back.values()), next(iter(held_back))
        return NotFound(f"Of {counted(count, 'message')} none is sent again: {why}")
    nothing = "There is no message to send in the recording"
    if not wanted.everything:
        nothing = "There is no message to send in what was chosen of the recording"
    if conversation.warnings:
        return NotFound(f"{nothing}: {'; '.join(conversation.warnings)}")
    if not wanted.everything:
        return NotFound(nothing, "Choose less narrowly; `megabot recordings stats` counts it.")
    return NotFound(
        nothing,
        "`megabot recordings stats` counts what is in it, `list` shows all there are; `last` is "
        "the newest, also a live one.",
    )


@asynccontextmanager
async def _steered(invocation: Invocation, stage: Stage, replay: Replay) -> AsyncIterator[None]:
    """Keys and control socket, as far as they are wanted and there."""
    from megabot_cli.replay.controls import Controls, control_socket

    controls = Controls(replay.transport, replay.status)
    async with AsyncExitStack() as opened:
        if stage.control is not None:
            await opened.enter_async_context(control_socket(stage.control, controls))
        if stage.keyboard:
            opened.enter_context(_keys(controls))
            keys = "space pauses, . steps, + and - change the speed, q ends it"
            replay.on_begin = lambda: invocation.console.note(keys)
        yield


@contextmanager
def _keys(controls: Controls) -> Iterator[None]:
    """Keys do what they mean at once. The terminal is afterwards as it was."""
    import asyncio
    import os
    import sys
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def pressed() -> None:
        for key in os.read(descriptor, 100).decode("utf-8", "replace"):
            controls.press(key)

    tty.setcbreak(descriptor)  # Ctrl-C stays a signal
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@asynccontextmanager
async def _watched(invocation: Invocation, stage: Stage, replay: Replay) -> AsyncIterator[None]:
    """Marks as they pass, and on a terminal a bar. It keeps up with time and keys also while
    nothing is sent and nothing comes."""
    import asyncio

    from megabot_cli.terminal.progress import Progress
    from megabot_cli.terminal.text import safe_line

    def passed(mark: RecordedMark) -> None:
        invocation.console.note(f"mark at {mark.t / 1e6:.3f}s: {safe_line(mark.text)}")

    replay.on_mark = passed
    if not invocation.console.err_is_terminal:
        yield
        return
    with Progress(invocation.console, "replay") as bar:

        def show_step() -> None:
            _show_step(bar, replay, stage)

        async def keep_up() -> None:
            while True:
                show_step()
                await asyncio.sleep(_REFRESH_S)

        replay.transport.on_change = show_step
        task = asyncio.get_running_loop().create_task(keep_up(), name="replay: show")
        try:
            yield
        finally:
            replay.transport.on_change = lambda: None
            task.cancel()
            await asyncio.wait((task,))


def _show_step(bar: Progress, replay: Replay, stage: Stage) -> None:
    """The bar over all rounds; one without an end where there is none."""
    step, transport, rounds = replay.progress(), replay.transport, stage.rounds
    if step is None:
        return
    before = (replay.rounds_begun - 1) * step.to_send
    notes = [
        "paused" if transport.paused else "",
        f"{step.late_ms:.0f} ms late" if stage.options.pace in ("original", "fixed") else "",
        f"{step.replies} replies",
        f"round {replay.rounds_begun}" if rounds != 1 else "",
        f"{transport.speed:g} ×" if transport.speed != 1 else "",
        f"{step.outstanding} outstanding",
    ]
    bar.reach(
        before + step.sent,
        ", ".join(filter(None, notes)),
        total=rounds * step.to_send,
        left_s=step.left_s if rounds == 1 else None,
        guesses=not transport.paused,  # nobody knows when a key is pressed
    )


def _client(
    invocation: Invocation, stage: Stage, session: str | None, **more: Any
) -> MegaBotClient:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.upstream import ssl_for

    profile = invocation.configuration.profile
    limits = invocation.configuration.settings.limits
    return MegaBotClient(
        profile.url,
        session_id=session,
        platform=profile.platform,
        send_in=profile.credential_in,
        dialect=profile.dialect,
        ssl=ssl_for(profile),
        validate=False,
        messages_per_second=limits.messages_per_second if stage.rate_limited else 0,
        burst=limits.burst,
        queue=0,
        **more,
    )


def keyboard_is_there(invocation: Invocation) -> bool:
    """Whether somebody at a terminal can press keys."""
    console = invocation.console
    return console.in_is_terminal and console.err_is_terminal and not invocation.options.no_input


def check_steps(pace: str, stage: Stage) -> None:
    """WrongUsage for messages that wait for a key which nobody can press."""
    if pace == "step" and not stage.keyboard and stage.control is None:
        raise WrongUsage(
            "--pace step waits for a key, and this is no terminal",
            "Name a control socket with --control PATH and write `step` to it.",
        )
