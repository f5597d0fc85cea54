"""Sockets that have not said yet what they want: few, and not for long.

A connection is known once a whole request head has come and the admission has looked at it.
Until then it has a deadline, and of those unknown only so many are kept: the oldest goes.
Nothing of aiohttp's inside is needed: its protocol is made here and watched from outside.
Where a TLS handshake comes first it counts as well, and is cut by the socket that was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

log = structlog.get_logger()

Protocol = asyncio.BaseProtocol

JUST_NOW_S = 0.05
CROWD_S = 1.0  # who has said nothing for so long may have to go
MOST_AT_ONCE = 2048  # strangers of one moment


class Doorkeeper:
    """Makes the protocols of one listener; `make` is set to aiohttp's `web.Server`.

    `on_turned_away` is told `deadline` or `crowded` for each that is cut.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        most_unknown: int,
        on_turned_away: Callable[[str], None],
    ) -> None:
        self.make: Callable[[], Any] | None = None
        self._deadline_s = deadline_s
        self._most_unknown = most_unknown
        self._on_turned_away = on_turned_away
        self._unknown: dict[Any, asyncio.TimerHandle] = {}
        self._shaking_hands: dict[Any, socket.socket] = {}  # of these, those before TLS is up
        self._look_again: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Connections that are not known yet."""
        return len(self._unknown)

    def open(self, accepted: socket.socket | None = None) -> Protocol:
        """The protocol for a connection that has just come in. With `accepted` a TLS handshake
        comes first: `hear` is to be called when it is over, or `know` when it failed."""
        assert self.make is not None
        protocol: Protocol = self.make()
        if len(self._unknown) >= self._most_unknown:
            self._make_room()
            self._look_soon()
        self.expect(protocol)
        if accepted is not None:
            self._shaking_hands[protocol] = accepted
        return protocol

    def hear(self, protocol: Any) -> None:
        """Its TLS is up; what it wants is still to be said."""
        self._shaking_hands.pop(protocol, None)

    def expect(self, protocol: Any) -> None:
        """Give a connection its time to send a whole request head."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._deadline_s, self._turn_away, protocol, "deadline")
        self._unknown[protocol] = timer

    def know(self, protocol: Any) -> None:
        """A whole request came over this connection, or it has gone."""
        self._shaking_hands.pop(protocol, None)
        timer = self._unknown.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _look_soon(self) -> None:
        """Those who came in one crowd have their moment; then they go, whoever comes or not."""
        if self._look_again is None:
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(CROWD_S + JUST_NOW_S, self._thin_out)

    def _thin_out(self) -> None:
        self._look_again = None
        if len(self._unknown) > self._most_unknown:
            self._make_room()
            self._look_soon()

    def _make_room(self) -> None:
        """Forget those who hung up; cut the oldest, but nobody who came just now.

        When hundreds of clients come back at once they are all strangers for a moment.
        """
        now = asyncio.get_running_loop().time()
        ages = [
            (each, now + self._deadline_s - timer.when()) for each, timer in self._unknown.items()
        ]
        for protocol, age_s in ages:
            # One that has just come has no transport yet.
            if self._is_gone(protocol) and age_s > JUST_NOW_S:
                self.know(protocol)
        for protocol, age_s in ages:
            if len(self._unknown) < self._most_unknown or age_s <= CROWD_S:
                break
            if protocol in self._unknown:
                self._turn_away(protocol, "crowded")
        while len(self._unknown) >= MOST_AT_ONCE:
            self._turn_away(next(iter(self._unknown)), "crowded")

    def _is_gone(self, protocol: Any) -> bool:
        return protocol.transport is None and protocol not in self._shaking_hands

    def _turn_away(self, protocol: Any, why: str) -> None:
        accepted = self._shaking_hands.get(protocol)
        self.know(protocol)
        if accepted is not None:
            log.info("socket.turned_away", why=why)
            self._on_turned_away(why)
            # Its transport is the loop's own affair as yet, and sees by this that it is over.
            with contextlib.suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
            return
        transport = protocol.transport
        if transport is None or transport.is_closing():
            return  # it has gone by itself, or has just come and hangs up next
        log.info("socket.turned_away", why=why)
        self._on_turned_away(why)
        transport.abort()

    def stop(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
        for timer in self._unknown.values():
            timer.cancel()
        self._unknown.clear()
        self._shaking_hands.clear()


KEEPER = web.AppKey("doorkeeper", Doorkeeper)


@web.middleware
async def known(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tell the doorkeeper that a whole request came; after the answer the next has its time."""
    keeper = request.app[KEEPER]
    protocol = request.protocol
    keeper.know(protocol)
    response = await handler(request)
    if not isinstance(response, web.WebSocketResponse):
        keeper.expect(protocol)  # a kept connection's next request has its time too
    return response
