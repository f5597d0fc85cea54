"""What goes on as it came goes on in the frame it came in, where nobody on the way can look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from megabot_cli.client.wire import client_frame, upstream_transport
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.frames import server_frame
from megabot_cli.relay.transports import unseen
from tests.relay.conftest import Peer, Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

MASK = b"\x01\x02\x03\x04"


@asynccontextmanager
async def wiretap(url: str) -> AsyncIterator[tuple[str, bytearray]]:
    """The same upstream by way of a port where all that goes up can be read."""
    went_up = bytearray()
    place = urlsplit(url)

    async def join(down: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        up, to_upstream = await asyncio.open_connection(place.hostname, place.port)

        async def pass_on(
            source: asyncio.StreamReader, to: asyncio.StreamWriter, kept: bytearray
        ) -> None:
            while data := await source.read(65_536):
                kept += data
                to.write(data)
            to.close()

        await asyncio.gather(
            pass_on(down, to_upstream, went_up), pass_on(up, to_client, bytearray())
        )

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{place.path}", went_up


def write(peer: Peer, *texts: str) -> bytes:
    """Send texts in frames with a mask of our own choice; returns those frames."""
    frames = b"".join(client_frame(text.encode(), MASK) for text in texts)
    transport = upstream_transport(peer.socket)
    assert transport is not None
    transport.write(frames)
    return frames


def message(message_id: str, **metadata: object) -> str:
    return json.dumps(
        {
            "id": message_id,
            "type": "chat_send",
            "payload": {"content": "x" * 200},
            "timestamp": 0,
            "metadata": metadata,
        }
    )


async def answered(stage: Stage, url: str, **settings: Any) -> Peer:
    """A client of a relay to there, whose first answer has shown that the upstream echoes ids."""
    relay = await stage.open_relay(url, **settings)
    peer = await stage.connect(relay.url)
    await peer.message("connection_established")
    write(peer, message("m0"))
    assert (await peer.message("chat_receive"))["metadata"]["reply_to"] == "m0"
    return peer


@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_messages_that_leave_as_they_came_keep_their_frames(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    async with wiretap(gateway.url) as (url, went_up):
        peer = await answered(stage, url, mode=mode)
        frames = write(peer, message("m1"), message("m2"))
        replies = [(await peer.message("chat_receive"))["metadata"]["reply_to"] for _ in range(2)]
        assert replies == ["m1", "m2"]
        assert frames in went_up


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_message_that_the_relay_changes_gets_a_frame_and_a_mask_of_its_own(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    async with wiretap(gateway.url) as (url, went_up):
        peer = await answered(stage, url, mode=mode)
        before = len(went_up)
        write(peer, message("m1", megabot={"ours": 1}))
        assert (await peer.message("chat_receive"))["metadata"]["reply_to"] == "m1"
        assert MASK not in went_up[before:]


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_an_objection_to_one_message_takes_only_that_out_of_what_came_together(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    async with wiretap(gateway.url) as (url, went_up):
        peer = await answered(stage, url, mode=mode, validation="strict")
        before = len(went_up)
        write(peer, message("m1"), '{"id":"bad","type":"chat_send"}', message("m2"))
        heard: set[str] = set()
        while heard != {"m1", "bad", "m2"}:
            heard.add((await peer.message())["metadata"]["reply_to"])
        await until(lambda: len(went_up) > before)
        assert MASK not in went_up[before:]


async def test_a_client_that_masks_nothing_is_closed_and_nobody_else_notices(
    stage: Stage, gateway: Gateway
) -> None:
    async with wiretap(gateway.url) as (url, went_up):
        relay = await stage.open_relay(url, mode="shared")
        good, bad = await stage.connect(relay.url), await stage.connect(relay.url)
        await bad.message("connection_established")
        transport = upstream_transport(bad.socket)
        assert transport is not None
        transport.write(server_frame(message("without a mask").encode()))
        assert await bad.close_code() == 1002
        write(good, message("m2"))
        assert (await good.message("chat_receive"))["metadata"]["reply_to"] == "m2"
        assert b"without a mask" not in went_up


class Connected:
    """As much of a transport as says where it leads."""

    def __init__(self, **facts: object) -> None:
        self._facts = facts

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._facts.get(name, default)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"peername": ("127.0.0.1", 80)}, True),
        ({"peername": ("127.9.9.9", 80)}, True),
        ({"peername": ("::1", 80, 0, 0)}, True),
        ({"peername": "/run/relay.sock"}, True),
        ({"peername": ("192.0.2.7", 443), "sslcontext": object()}, True),
        ({"peername": ("192.0.2.7", 80)}, False),
        ({"peername": ("fe80::1%eth0", 80, 0, 2)}, False),
        ({"peername": None}, False),
    ],
)
def test_only_this_machine_and_encryption_hide_what_is_sent(
    facts: dict[str, object], expected: bool
) -> None:
    assert unseen(Connected(**facts)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_what_is_no_text_is_left_out_of_a_read_and_the_rest_comes_exactly(
    stage: Stage, mode: str
) -> None:
    texts = [message("m1").encode(), b'{"id":"\xff"}', message("m2").encode(), b"\xff", b"plain"]

    async def in_one_write(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.send_raw(b"".join(map(server_frame, texts)))
        await connection.until_gone()

    async with ScriptedUpstream(in_one_write) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peers = [(await stage.greeted(relay.url))[0] for _ in range(2 if mode == "shared" else 1)]
        await peers[0].send("note", "n1", n=1)
        for peer in peers:
            heard = [(await peer.text()).encode() for _ in range(3)]
            assert heard == [texts[0], texts[2], texts[4]]
        assert relay.numbers.drops["not_utf8"] == 2
