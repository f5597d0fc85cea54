"""The wires between two programs, for tests that cut, choke or jam them.

A forwarder of TCP on a loopback port, in a thread of its own: it goes on whatever the test
waits for. Every method may be called from any thread.

    with Network(target_port) as network:
        ... connect to network.port ...
        network.cut()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

PIECE_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST, and forgets what was not sent


class Network:
    """Forwards connections to a port of this machine, until it is told otherwise.

    `connections` counts all that were ever made.
    """

    def __init__(self, target_port: int) -> None:
        self.connections = 0
        self._target_port = target_port
        self._open = True
        self._passing = asyncio.Event()
        self._passing.set()
        self._down_pace: float | None = None  # bytes a second towards who connected
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._stop)
        self._thread.join(10.0)

    def url(self, path: str = "/ws") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    # -- faults ------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection (RST); new ones are still made."""
        self._do(self._cut)

    def go_down(self) -> None:
        """Reset every connection, and every new one at once, until `come_up`."""
        self._open = False
        self._do(self._cut)

    def come_up(self) -> None:
        self._open = True

    def jam(self) -> None:
        """Bytes go nowhere, and nobody is told: connections are half open until `clear`."""
        self._do(self._passing.clear)

    def clear(self) -> None:
        self._do(self._passing.set)

    def choke(self, bytes_per_s: float | None) -> None:
        """So much a second, and no more, goes down to who connected."""
        self._down_pace = bytes_per_s

    # -- the thread --------------------------------------------------------------------------

    def _do(self, deed: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            deed()
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(10.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.run_forever()
        # Their connections are cut: they end by themselves.
        while tasks := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()

    def _stop(self) -> None:
        self._passing.set()
        self._cut()
        self._listener.close()
        self._loop.call_soon(self._loop.stop)

    def _cut(self) -> None:
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self._open:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer, down=False),
                self._pass_on(far_reader, writer, down=True),
            )
        finally:
            self._pairs.discard(pair)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await self._passing.wait()
                if down and self._down_pace:
                    await asyncio.sleep(len(data) / self._down_pace)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
