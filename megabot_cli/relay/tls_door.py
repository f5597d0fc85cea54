"""Take who comes to a door with TLS. Accepted here and not by the loop's own server, which shows
nobody a connection before its handshake is over: these count as strangers from the start."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from megabot_cli.client.tasks import TaskSet
from megabot_cli.listening.doorkeeper import Doorkeeper

HANDSHAKE_S: Final = 10.0
_AGAIN_S = 1.0  # where the system has no more files, as asyncio's own server does


class TlsDoor:
    """Listens from `start` on until `close`; `stopped` waits for the end of what it had begun."""

    def __init__(self, keeper: Doorkeeper, listener: socket.socket, tls: ssl.SSLContext) -> None:
        self._keeper = keeper
        self._listener = listener
        self._tls = tls
        self._tasks = TaskSet()
        self._accepting: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._accepting = self._tasks.start(self._accept(), "accept with TLS")

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()

    async def stopped(self) -> None:
        await self._tasks.stop()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:  # it hung up first
                continue
            except OSError:
                await asyncio.sleep(_AGAIN_S)
                continue
            self._tasks.start(self._shake_hands(connection), "TLS handshake")

    async def _shake_hands(self, connection: socket.socket) -> None:
        protocol = self._keeper.open(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                sock=connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError:  # no TLS, cut, or silent for too long; ssl's errors are such ones too
            self._keeper.know(protocol)
        except asyncio.CancelledError:
            # The socket is its transport's, which sees by this that it is over.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            raise
        else:
            self._keeper.hear(protocol)
