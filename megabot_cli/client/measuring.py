"""What a path to MegaBot carries: connections, round trips, and one answer to many listeners."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import msgspec

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.received import Received
from megabot_cli.errors import BadData, ConnectionLost, MegabotError, NotAuthenticated, RateLimited

# After a refusal for the rate, where nobody said when to come back.
_REST_S = 1.0
# After any other failure: one that comes at once must not make a busy loop.
_PAUSE_S = 0.1

NewClient = Callable[[str | None], AbstractAsyncContextManager[MegaBotClient]]
"""Opens a client, in the session that is named or in one of its own."""


class Load(msgspec.Struct, frozen=True):
    """What to put on the path: `clients` at once, each asking as soon as it is answered, for
    `seconds`; `per_s` bounds all together (0: nothing does). Then one answer to `listeners`.
    """

    clients: int = 4
    seconds: float = 5.0
    per_s: float = 0.0
    text: str = "ping"
    listeners: int = 0
    patience_s: float = 30.0


class Figures(msgspec.Struct):
    """What came of it. Times are milliseconds, in the order in which they ended.

    `spread_ms` is how long after the first listener each of the others had the whole answer.
    """

    connect_ms: list[float] = []
    first_ms: list[float] = []
    total_ms: list[float] = []
    seconds: float = 0.0
    messages: int = 0  # that came in answer
    failed: Counter[str] = msgspec.field(default_factory=Counter)  # by the error's code
    listeners: int = 0
    spread_ms: list[float] = []
    delivered: int = 0  # messages of the one answer, to all listeners together


class Measurement:
    """One run; `figures` grows as it goes, and holds what there is when it is cancelled."""

    def __init__(
        self, load: Load, new_client: NewClient, on_progress: Callable[[Figures], None]
    ) -> None:
        self.figures = Figures()
        self._load = load
        self._new_client = new_client
        self._on_progress = on_progress
        self._next_at = 0.0

    async def run(self) -> Figures:
        """Raises what keeps the first client from connecting; later faults are counted."""
        async with AsyncExitStack() as opened:
            clients = await self._connect(opened)
            await self._ask_all(clients)
            if self._load.listeners:
                await self._fan_out(clients[0], opened)
        return self.figures

    async def _connect(self, opened: AsyncExitStack) -> list[MegaBotClient]:
        clients = []
        for _ in range(self._load.clients):
            began = time.perf_counter()
            clients.append(await opened.enter_async_context(self._new_client(None)))
            self.figures.connect_ms.append((time.perf_counter() - began) * 1000)
        return clients

    async def _ask_all(self, clients: list[MegaBotClient]) -> None:
        began = self._next_at = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, client in enumerate(clients):
                    tasks.create_task(
                        self._ask_on(client, began + self._load.seconds), name=f"bench {number}"
                    )
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None
        finally:
            self.figures.seconds = time.perf_counter() - began

    async def _ask_on(self, client: MegaBotClient, until: float) -> None:
        figures = self.figures
        while await self._turn(until):
            try:
                answer = await client.ask(self._load.text, timeout_s=self._load.patience_s)
            except (ConnectionLost, NotAuthenticated) as fault:
                figures.failed[fault.code] += 1
                return
            except RateLimited as fault:
                figures.failed[fault.code] += 1
                await asyncio.sleep(fault.retry_after_s or _REST_S)
            except BadData:
                raise  # ours: none would be better than the first
            except MegabotError as fault:
                figures.failed[fault.code] += 1
                await asyncio.sleep(_PAUSE_S)
            else:
                figures.total_ms.append(answer.total_s * 1000)
                first_s = answer.first_chunk_s
                figures.first_ms.append((answer.total_s if first_s is None else first_s) * 1000)
                figures.messages += len(answer.messages)
            self._on_progress(figures)

    async def _turn(self, until: float) -> bool:
        """Wait for the next place at the rate that is allowed; False when the time is over."""
        now = time.perf_counter()
        if self._load.per_s:
            due = max(self._next_at, now)
            self._next_at = due + 1 / self._load.per_s
            if due >= until:
                return False
            await asyncio.sleep(due - now)
        return time.perf_counter() < until

    async def _fan_out(self, speaker: MegaBotClient, opened: AsyncExitStack) -> None:
        """Have one answer delivered to many on the session of the one who asks."""
        whole_at: list[float] = []
        everybody = asyncio.Event()

        def heard(received: Received) -> None:
            self.figures.delivered += 1
            payload = received.payload()
            if isinstance(payload, dict) and payload.get("is_complete", True):
                whole_at.append(time.perf_counter())
                if len(whole_at) >= self._load.listeners:
                    everybody.set()

        for _ in range(self._load.listeners):
            listener = await opened.enter_async_context(self._new_client(speaker.session_id))
            listener.on("chat_stream")(heard)
        await speaker.ask(self._load.text, timeout_s=self._load.patience_s)
        try:
            async with asyncio.timeout(self._load.patience_s):
                await everybody.wait()
        except TimeoutError:
            self.figures.failed["not_heard"] += self._load.listeners - len(whole_at)
        self.figures.listeners = self._load.listeners
        first = min(whole_at, default=0.0)
        self.figures.spread_ms = [(at - first) * 1000 for at in whole_at]
