"""What one connection has still to receive, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import WSMsgType

from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.schema import OutboxSettings
from megabot_cli.gateway.deflating import AT_ONCE_BYTES, DeflatingSocket
from megabot_cli.protocol.compression import THRESHOLD_BYTES, compress

# Above this the transport holds enough; what comes next waits here, where it is counted.
_TRANSPORT_BYTES = 32 * 1024

Socket = DeflatingSocket


class BinaryMessage(bytes):
    """A message that is to leave as binary; plain bytes leave as text."""


class Outbox:
    """Writes to one socket. What the transport took counts as delivered.

    A message goes straight to the transport while the peer reads; else it waits, and a
    task writes on as the peer takes it. `on_stalled` is called once when the peer has taken
    nothing for too long or too much waits; `on_room` each time all has been written.
    """

    def __init__(
        self,
        socket: Socket,
        transport: asyncio.Transport,
        drain: Callable[[], Awaitable[None]],
        settings: OutboxSettings,
        tasks: TaskSet,
        *,
        on_stalled: Callable[[], None],
        on_room: Callable[[], None],
        gzip: bool = False,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._drain = drain
        self._settings = settings
        self._tasks = tasks
        self._on_stalled = on_stalled
        self._on_room = on_room
        self._gzip = gzip  # long messages leave as gzip, in binary messages
        self._compresses = gzip or socket.deflates
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def congested(self) -> bool:
        """Whether the peer reads more slowly than it is written to."""
        return bool(self._waiting)

    def send(self, message: bytes) -> None:
        """Deliver `message` after all that came before it. Never waits, never raises."""
        if self._may_write_now(message):
            try:
                _run_at_once(self._write(message))
            except ConnectionError:
                self._closed = True
            else:
                return
        self._keep(message)

    def pong(self, payload: bytes) -> None:
        """Answer a ping, unless the peer reads nothing: then the answer would only pile up."""
        if not self.congested and self._may_write_now(payload):
            try:
                _run_at_once(self._socket.send_frame(payload, WSMsgType.PONG))
            except ConnectionError:
                self._closed = True

    async def finish(self) -> list[bytes]:
        """Write no more; return what was not written."""
        self._closed = True
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        left = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return left

    def _may_write_now(self, message: bytes) -> bool:
        return not (
            self._waiting
            or self._closed
            or self._transport.is_closing()
            or self._transport.get_write_buffer_size() > _TRANSPORT_BYTES
            or (self._compresses and len(message) > AT_ONCE_BYTES)
        )

    async def _write(self, message: bytes) -> None:
        if isinstance(message, BinaryMessage):
            await self._socket.send_frame(message, WSMsgType.BINARY)
        elif not self._gzip or len(message) < THRESHOLD_BYTES:
            await self._socket.send_frame(message, WSMsgType.TEXT)
        elif len(message) <= AT_ONCE_BYTES:
            await self._socket.send_frame(compress(message), WSMsgType.BINARY)
        else:
            squeezed = await asyncio.to_thread(compress, message)
            await self._socket.send_frame(squeezed, WSMsgType.BINARY)

    def _keep(self, message: bytes) -> None:
        self._waiting.append(message)
        self._bytes += len(message)
        if self._closed:
            self._drop_beyond_limits()
        elif self._exceeds_limits():
            self._stall()
        elif self._writing is None:
            self._writing = self._tasks.start(self._write_waiting(), "gateway outbox")

    def _exceeds_limits(self) -> bool:
        # One message alone may always wait, however long it is.
        too_many = len(self._waiting) > self._settings.messages
        return too_many or (len(self._waiting) > 1 and self._bytes > self._settings.bytes)

    def _drop_beyond_limits(self) -> None:
        """The peer is gone and its session has not noticed yet: the newest are worth most."""
        while self._exceeds_limits():
            self._bytes -= len(self._waiting.popleft())

    def _stall(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_stalled()

    async def _write_waiting(self) -> None:
        try:
            while self._waiting and not self._closed:
                await self._until_drained()
                await self._write(self._waiting[0])
                self._bytes -= len(self._waiting.popleft())
        except ConnectionError:
            self._closed = True
        except TimeoutError:
            self._stall()
        finally:
            self._writing = None
        self._on_room()

    async def _until_drained(self) -> None:
        """Return when the transport takes more. TimeoutError when the peer takes nothing."""
        while True:
            before = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._settings.stall_s):
                    await self._drain()
            except TimeoutError:
                if self._transport.get_write_buffer_size() < before:
                    continue
                raise
            return


def _run_at_once(sending: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that has nothing to wait for, without the cost of a task."""
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
    raise RuntimeError("a write that should not have waited did")
