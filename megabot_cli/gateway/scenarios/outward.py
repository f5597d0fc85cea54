"""What a scenario does with the messages that leave over one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from megabot_cli.client.tasks import TaskSet
from megabot_cli.gateway.scenarios.actor import Actor
from megabot_cli.gateway.scenarios.declaration import word_of
from megabot_cli.gateway.scenarios.details import detailed
from megabot_cli.gateway.scenarios.plan import Part
from megabot_cli.gateway.scenarios.spoiling import spoil

MOST_WAITING = 2000
HELD_AT_MOST_S = 1.0  # a message to be overtaken waits no longer for another


class Outward:
    """Keeps the order of what leaves, delays included; only `reorder` changes it."""

    def __init__(self, actor: Actor, tasks: TaskSet, on_room: Callable[[], None]) -> None:
        self._actor = actor
        self._tasks = tasks
        self._on_room = on_room
        self._waiting: deque[tuple[bytes, Part | None]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._held: list[bytes] = []
        self._release: asyncio.TimerHandle | None = None
        self._ended = False  # closed or broken by a step: what comes now is not delivered
        self.silent = False
        self.never_pong = False

    @property
    def congested(self) -> bool:
        return bool(self._waiting)

    def send(self, message: bytes, part: Part | None) -> None:
        """Deliver a message as its part says, after all that came before it."""
        if self._waiting or self._ended:
            self._keep(message, part)
            return
        doing = self._steps(message, part)
        pause_s = next(doing, None)
        if pause_s is not None:
            self._keep(message, part)
            self._sending = self._tasks.start(
                self._send_waiting(doing, pause_s), "gateway scenario"
            )

    async def finish(self) -> list[bytes]:
        """Do no more; return what was not sent."""
        self._ended = True
        if self._release is not None:
            self._release.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        return [*self._held, *(message for message, _ in self._waiting)]

    def _keep(self, message: bytes, part: Part | None) -> None:
        self._waiting.append((message, part))
        if len(self._waiting) > MOST_WAITING and not self._ended:
            self._ended = True
            self._actor.start_close(1013, "more waits than the scenario lets go")

    async def _send_waiting(self, doing: Iterator[float], pause_s: float | None) -> None:
        """Go on with the first that waits, then with all after it."""
        while True:
            while pause_s is not None:
                await asyncio.sleep(pause_s)
                pause_s = next(doing, None)
            self._waiting.popleft()
            if self._ended or not self._waiting:
                break
            doing = self._steps(*self._waiting[0])
            pause_s = next(doing, None)
        self._sending = None
        self._on_room()

    def _steps(self, message: bytes, part: Part | None) -> Iterator[float]:
        """Do what is said, yielding each pause. A message leaves at the end, unless it did."""
        copies = 1
        for index, step in enumerate(part.steps if part is not None else ()):
            assert part is not None
            match word_of(step):
                case "delay_s":
                    yield part.seconds(detailed(step), f"step {index}")
                case "pass":
                    self._leave(message, copies)
                    copies = 0
                case "drop":
                    copies = 0
                case "duplicate":
                    copies = 2
                case "reorder":
                    self._hold(message)
                    copies = 0
                case "malformed":
                    if not self.silent:
                        broken = spoil(message, detailed(step))
                        self._actor.send_raw(broken.content, binary=broken.binary)
                    copies = 0
                case "silent":
                    self.silent = True
                case "never_pong":
                    self.never_pong = True
                case "close" | "abort":
                    self._end(step, message if copies else None)
                    return
        if copies:
            self._leave(message, copies)

    def _leave(self, message: bytes, copies: int) -> None:
        for _ in range(copies):
            if not self.silent:
                self._actor.send_as_usual(message)
        self._let_go()

    def _hold(self, message: bytes) -> None:
        self._held.append(message)
        if self._release is None:
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(HELD_AT_MOST_S, self._let_go)

    def _let_go(self) -> None:
        """What was to be overtaken has been, or nothing came."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        held, self._held = self._held, []
        for message in held:
            if not self.silent:
                self._actor.send_as_usual(message)

    def _end(self, step: msgspec.Struct | str, message: bytes | None) -> None:
        """Close or break; a message that has not left yet is for the next connection."""
        self._ended = True
        if message is not None:
            self._held.append(message)
        if step == "abort":
            self._actor.reset()
        else:
            goodbye = detailed(step)  # type: ignore[arg-type]
            self._actor.start_close(goodbye.code, goodbye.reason)
