"""Read a socket to its end: straight from the parser, or message by message under pressure."""

from __future__ import annotations

import aiohttp
import structlog

from megabot_cli.relay.wire import Sink, Socket, deliver_to
from megabot_cli.relay.witness import Witness

log = structlog.get_logger("relay")


async def read_all(socket: Socket, take: Sink, witness: Witness) -> None:
    """Hand every message of `socket` to `take`, in order, until it is closed.

    Only the recorder may ask for patience, never a client: then messages stay in aiohttp's
    queue, which stops reading from the network when it is full.
    """

    def take_straight(data: bytes, binary: bool) -> None:
        take(data, binary)
        if witness.must_wait:
            deliver_to(socket, None)

    deliver_to(socket, take_straight)
    try:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                take(message.data, False)
            elif message.type is aiohttp.WSMsgType.BINARY:
                take(message.data, True)
            elif message.type is aiohttp.WSMsgType.ERROR:
                log.warning("socket.broken", fault=repr(message.data))
            if witness.must_wait:
                await witness.caught_up()
            deliver_to(socket, take_straight)
    finally:
        deliver_to(socket, None)
