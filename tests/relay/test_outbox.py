"""An outbox writes once a turn, keeps order, and gives up on a client that does not read."""

from __future__ import annotations

import asyncio
import socket

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.relay.outbox import Outbox, Stalled, Turn


class Pair:
    """A real connection: our transport at one end, a plain socket at the other."""

    def __init__(self, transport: asyncio.WriteTransport, peer: socket.socket) -> None:
        self.transport = transport
        self.peer = peer
        self.stalled: list[Stalled] = []

    def outbox(self, **settings: float) -> Outbox:
        loop = asyncio.get_running_loop()
        bounds = OutboxSettings(**settings)  # type: ignore[arg-type]
        return Outbox(self.transport, bounds, Turn(loop), self.stalled.append)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.peer, size - len(data))
        return data

    def close(self) -> None:
        self.transport.abort()
        self.peer.close()


async def open_pair() -> Pair:
    ours, peer = socket.socketpair()
    for end in (ours, peer):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    return Pair(transport, peer)


async def test_frames_of_one_turn_arrive_together_and_in_order() -> None:
    pair = await open_pair()
    outbox = pair.outbox()
    for number in range(5):
        outbox.offer(str(number).encode())
    assert await pair.read(5) == b"01234"
    assert outbox.empty
    pair.close()


async def test_a_full_socket_keeps_frames_and_order_until_it_is_read() -> None:
    pair = await open_pair()
    outbox = pair.outbox()
    frames = [bytes([number]) * 20_000 for number in range(40)]
    for frame in frames:
        outbox.offer(frame)
        await asyncio.sleep(0)
    assert not outbox.empty
    assert await asyncio.wait_for(pair.read(40 * 20_000), 10) == b"".join(frames)
    assert pair.stalled == []
    pair.close()


async def test_a_client_beyond_its_bounds_is_given_up_once() -> None:
    pair = await open_pair()
    outbox = pair.outbox(bytes=100_000)
    for _ in range(50):
        outbox.offer(b"x" * 10_000)
        await asyncio.sleep(0)
    assert len(pair.stalled) == 1
    assert outbox.closed
    assert outbox.waiting_bytes <= 200_000
    pair.close()


async def test_a_client_that_reads_nothing_is_given_up_after_the_stall_limit() -> None:
    pair = await open_pair()
    outbox = pair.outbox(stall_s=0.1)
    for _ in range(20):
        outbox.offer(b"x" * 20_000)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not pair.stalled:  # noqa: ASYNC110  the outbox looks by itself, so do we
            await asyncio.sleep(0.01)
    assert "nothing was read" in pair.stalled[0].reason
    pair.close()
