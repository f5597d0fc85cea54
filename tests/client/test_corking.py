"""What is sent together arrives together, and never late."""

from __future__ import annotations

import asyncio
import socket as sockets
from pathlib import Path

import pytest

from megabot_cli.client.corking import corked

PIECES = 50


class Counts(asyncio.Protocol):
    """Counts how often something comes."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.all_there = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)
        if sum(map(len, self.reads)) == PIECES * 100:
            self.all_there.set()


async def write_in_pieces(writer: asyncio.StreamWriter) -> None:
    for number in range(PIECES):
        writer.write(bytes([number]) * 100)
        await asyncio.sleep(0.001)


@pytest.mark.skipif(not hasattr(sockets, "TCP_CORK"), reason="only Linux has a cork")
@pytest.mark.parametrize("held", [True, False])
async def test_pieces_travel_together_under_a_cork_and_one_by_one_without(*, held: bool) -> None:
    there = Counts()
    server = await asyncio.get_running_loop().create_server(lambda: there, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        if held:
            with corked(writer):  # type: ignore[arg-type]  # it has the one method that is asked
                await write_in_pieces(writer)
        else:
            await write_in_pieces(writer)
        await asyncio.wait_for(there.all_there.wait(), 5)
        writer.close()
    assert b"".join(there.reads) == b"".join(bytes([n]) * 100 for n in range(PIECES))
    assert (len(there.reads) < 5) is held


async def test_a_unix_socket_and_no_connection_go_without(tmp_path: Path) -> None:
    there = Counts()
    place = str(tmp_path / "s")
    server = await asyncio.get_running_loop().create_unix_server(lambda: there, place)
    async with server:
        _, writer = await asyncio.open_unix_connection(place)
        with corked(writer), corked(None):  # type: ignore[arg-type]
            await write_in_pieces(writer)
        await asyncio.wait_for(there.all_there.wait(), 5)
        writer.close()
