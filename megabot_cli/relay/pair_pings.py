"""Find out by ping whether both sides of a pair are alive. Their own pings and pongs pass by."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from megabot_cli.client.wire import (
    CAN_HEAR,
    HeardSocket,
    HeardUpstream,
    Socket,
    client_frame,
)
from megabot_cli.protocol.frames import server_frame
from megabot_cli.relay.heartbeat import Heard, Pulse
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.way import Way

PING = 0x89  # FIN and opcode 9 (RFC 6455, 5.5.2)


class Life:
    """Whether a side of a pair has given a sign of life, as `heartbeat` asks: it sent something,
    or read what had no room. While the brake keeps us from hearing it nobody can tell."""

    def __init__(self, socket: Heard, out_of: Way, into: Way) -> None:
        self._socket = socket
        self._out_of = out_of
        self._into = into

    @property
    def heard(self) -> bool:
        moved = self._into.has_moved()
        return moved or self._socket.heard or self._out_of.braked

    @heard.setter
    def heard(self, heard: bool) -> None:
        self._socket.heard = heard


class Pings:
    """`data` is what the relay's own pings hold: a pong with it goes no further."""

    def __init__(self, parts: RelayParts, up: Way, down: Way) -> None:
        self.data = os.urandom(8)
        self._heartbeat = parts.heartbeat
        self._masks = parts.masks
        self._up = up
        self._down = down
        self._pulses: list[Pulse] = []

    def watch_client(
        self, client: Socket, transport: asyncio.Transport, fell_silent: Callable[[], None]
    ) -> None:
        def ping() -> None:
            transport.write(server_frame(self.data, PING))

        if CAN_HEAR and isinstance(client, HeardSocket):
            its_life = Life(client, out_of=self._up, into=self._down)
            self._pulses.append(self._heartbeat.watch(its_life, ping, fell_silent))

    def watch_upstream(
        self, upstream: Socket, transport: asyncio.Transport, fell_silent: Callable[[], None]
    ) -> None:
        def ping() -> None:
            transport.write(client_frame(self.data, self._masks.take(), PING))

        if CAN_HEAR and isinstance(upstream, HeardUpstream):
            its_life = Life(upstream, out_of=self._down, into=self._up)
            self._pulses.append(self._heartbeat.watch(its_life, ping, fell_silent))

    def stop(self) -> None:
        for pulse in self._pulses:
            self._heartbeat.forget(pulse)
        self._pulses.clear()
