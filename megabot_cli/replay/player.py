"""Play a recording back: once or several times, and steered meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from typing import Any

import msgspec

from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.lane import NewClient
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Played, Progress, Totals, cause_of
from megabot_cli.replay.playing import Run
from megabot_cli.replay.recorded_message import RecordedMark
from megabot_cli.replay.report import ReplayReport
from megabot_cli.replay.script import Script
from megabot_cli.replay.transport import Transport
from megabot_cli.storage.record_reader import RecordReader


async def play(reader: RecordReader, options: ReplayOptions, new_client: NewClient) -> ReplayReport:
    """Send what the recorded clients sent, and compare what comes with what came then.

    Recorded clients that shared a session share a fresh one. The first fault of a connection
    ends the replay: CouldNotConnect, NotAuthenticated, ConnectionLost. Other answers are no
    fault; the report's `passed` says whether they are what `options.expect` allows.
    """
    with closing(read_conversation(reader, options)) as conversation:
        return (await Replay(conversation, options, new_client).play()).report


class Replay:
    """A conversation to be played, once or several times, and steered meanwhile.

    `transport` is the clock to steer by; `on_mark` hears of marks as they pass, `on_begin` that
    the first round is connected. `so_far` says what has been done, also after `play` was
    cancelled or failed. `with_cases` keeps the verdict on each answer; all else that is kept
    does not grow with the rounds.
    """

    def __init__(
        self,
        conversation: Conversation,
        options: ReplayOptions,
        new_client: NewClient,
        on_mark: Callable[[RecordedMark], None] | None = None,
        *,
        with_cases: bool = True,
    ) -> None:
        self._conversation = conversation
        self._script = Script(conversation, options)
        self._options = options
        self._new_client = new_client
        self.on_mark = on_mark
        self.on_begin: Callable[[], None] | None = None
        self.rounds_begun = 0
        self._run: Run | None = None  # the last that has begun
        self._under_way = False
        self._with_cases = with_cases
        self._ended = Totals(with_cases=with_cases, ignored=options.ignored)
        self.transport = Transport(options.speed, paused=options.pace == "step")

    async def play(self, rounds: int = 1) -> Played:
        """Play it `rounds` times, each with sessions and ids of its own; 0: until stopped."""
        conversation = self._conversation
        while not self.transport.stopped and (not rounds or self.rounds_begun < rounds):
            run = Run(
                conversation,
                self._options,
                self._script,
                self.transport,
                self.on_mark,
                with_cases=self._with_cases,
            )
            self._run, self._under_way = run, True
            self.rounds_begun += 1
            try:
                async with AsyncExitStack() as cleanup:
                    cleanup.callback(self.transport.close)
                    try:
                        await run.connect(self._new_client, cleanup)
                        if self.on_begin is not None and self.rounds_begun == 1:
                            self.on_begin()
                        await run.go()
                    finally:
                        await run.hang_up()
            except ExceptionGroup as faults:
                raise cause_of(faults) from None
            self._ended.add(run.outcome())
            self._under_way = False
            if not run.progress().to_send:
                break  # nothing, for ever, would not be a replay
        return self.so_far()

    @property
    def has_sent(self) -> bool:
        step = self.progress()
        return self._ended.sent > 0 or (step is not None and step.sent > 0)

    def progress(self) -> Progress | None:
        """How far its round is, if one has begun."""
        return self._run.progress() if self._run is not None else None

    def so_far(self, *, interrupted: bool = False) -> Played:
        """All rounds together, also of a replay that has not come to its end."""
        totals = self._ended
        if self._under_way and self._run is not None:
            totals = totals.and_(self._run.outcome())
        return totals.played(stopped=interrupted or self.transport.stopped)

    def status(self) -> dict[str, Any]:
        """How far it is, for whoever steers it."""
        progress = self.progress()
        facts: dict[str, Any] = {"round": self.rounds_begun}
        return facts | (msgspec.to_builtins(progress) if progress is not None else {})
