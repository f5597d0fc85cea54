"""A client that is listened to: what comes is told at once, together, and kept for nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from megabot_cli.client import MegaBotClient, wire  # wire: our readers, from the first socket on
from megabot_cli.client.received import Received
from megabot_cli.errors import BadData, ConnectionLost, RateLimited
from megabot_cli.protocol.batching import wrap
from megabot_cli.protocol.compression import compress
from megabot_cli.protocol.frames import BINARY, server_frame
from tests.client.conftest import until
from tests.client.conversations import Twice, client_of, read_all
from tests.support.upstream import Connection, ScriptedUpstream

assert wire


class Ears:
    """What was told, by the way it came."""

    def __init__(self) -> None:
        self.packs: list[list[bytes]] = []
        self.others: list[str | bytes] = []

    def texts(self, texts: list[bytes]) -> None:
        self.packs.append(texts)

    def other(self, received: Received) -> None:
        self.others.append(received.text)

    @property
    def said(self) -> list[str]:
        return [json.loads(text)["payload"] for pack in self.packs for text in pack]

    def listen(self, client: MegaBotClient) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(
            client.listen(self.texts, self.other), name="listen"
        )


async def on_a_word(connection: Connection, say: Callable[[], Any]) -> None:
    await connection.greet()
    await connection.receive()
    await say()
    await connection.until_gone()


async def test_texts_that_came_together_are_told_together_and_the_greeting_before_them() -> None:
    async def script(connection: Connection) -> None:
        frames = [
            server_frame(json.dumps({"id": f"m{n}", "type": "x", "payload": f"n{n}"}).encode())
            for n in range(3)
        ]
        await on_a_word(connection, lambda: connection.send_raw(b"".join(frames)))

    ears = Ears()
    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        listening = ears.listen(client)
        await client.send("custom", {})
        await until(lambda: ears.said == ["n0", "n1", "n2"])
        assert len(ears.packs) == 1
        assert [json.loads(other)["type"] for other in ears.others] == ["connection_established"]
        assert client.metrics().messages_received == 4
    await asyncio.wait_for(listening, 5)


async def test_binary_and_gzip_are_told_one_by_one() -> None:
    async def script(connection: Connection) -> None:
        async def say() -> None:
            await connection.send_bytes(b"\x00\x01")
            await connection.send_bytes(compress(b'{"id":"z","type":"x","payload":"unfolded"}'))
            await connection.send("x", "plain")

        await on_a_word(connection, say)

    ears = Ears()
    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        listening = ears.listen(client)
        await client.send("custom", {})
        await until(lambda: ears.said == ["plain"])
        assert ears.others[1] == b"\x00\x01"
        assert json.loads(ears.others[2])["payload"] == "unfolded"
    await listening


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (server_frame(b'{"id":"m","type":"x","payload":"\xff"}'), 1007),
        (
            server_frame(compress(b'{"id":"m","type":"x","payload":"%4000d"}' % 1), BINARY),
            1009,
        ),
    ],
    ids=["no UTF-8", "gzip of too much"],
)
async def test_what_cannot_be_taken_ends_the_connection(frame: bytes, code: int) -> None:
    async def script(connection: Connection) -> None:
        await on_a_word(connection, lambda: connection.send_raw(frame))

    ears = Ears()
    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, reconnect=None, max_message_bytes=1000) as client,
    ):
        listening = ears.listen(client)
        await client.send("custom", {})
        with pytest.raises(ConnectionLost) as lost:
            await asyncio.wait_for(listening, 5)
        assert lost.value.close_code == code
        await until(lambda: upstream.connections[0].socket.close_code == code)
    assert ears.said == []
    assert len(ears.others) == 1  # the greeting


async def test_a_listener_that_fails_ends_the_client_and_its_fault_is_told() -> None:
    async def script(connection: Connection) -> None:
        await on_a_word(connection, lambda: connection.send("x", "plain"))

    def fail(texts: list[bytes]) -> None:
        raise ZeroDivisionError

    async with ScriptedUpstream(script) as upstream:
        client = client_of(upstream)
        await client.open()
        listening = asyncio.get_running_loop().create_task(
            client.listen(fail, lambda _: None), name="listen"
        )
        await client.send("custom", {})
        with pytest.raises(ConnectionLost, match="fault of its own"):
            await asyncio.wait_for(listening, 5)
        with pytest.raises(ZeroDivisionError):
            await client.close()


async def test_what_comes_after_a_loss_is_told_as_well() -> None:
    async def fall(connection: Connection) -> None:
        await connection.greet()
        await connection.send("x", "before")
        await connection.receive()
        await connection.cut()

    async def go_on(connection: Connection) -> None:
        await connection.greet()
        await connection.send("x", "after")
        await connection.until_gone()

    ears = Ears()
    async with (
        ScriptedUpstream(Twice(fall, go_on)) as upstream,
        client_of(upstream) as client,
    ):
        listening = ears.listen(client)
        await client.send("custom", {})

        def everything() -> list[Any]:
            others = [json.loads(other)["payload"] for other in ears.others]
            return [each for each in others if isinstance(each, str)] + ears.said

        await until(lambda: everything() == ["before", "after"])
    await listening


# Sending together


@pytest.mark.parametrize("deflates", [False, True])
async def test_a_pack_arrives_in_order_and_is_told_when_it_leaves(*, deflates: bool) -> None:
    heard: list[str | bytes] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            heard.append(await connection.receive_text())

    pack: list[str | bytes] = ["grüße", b"\x00\xff", "x" * 70_000, "last"]
    left: list[int] = []
    async with (
        ScriptedUpstream(script, compress=deflates) as upstream,
        client_of(upstream) as client,
    ):
        await client.send_pack(pack, left.append)
        await until(lambda: len(heard) == 4)
        assert client.metrics().messages_sent == 4
    assert heard == pack
    assert left == ([1, 1, 1, 1] if deflates else [4])


async def test_a_pack_keeps_the_rate_limit() -> None:
    loop = asyncio.get_running_loop()
    left: list[float] = []
    async with (
        ScriptedUpstream() as upstream,
        client_of(upstream, messages_per_second=20, burst=1) as client,
    ):
        await client.send_pack(["a", "b", "c"], lambda _: left.append(loop.time()))
    assert left[2] - left[0] > 0.08


async def test_of_a_pack_with_half_a_character_the_rest_before_it_leaves() -> None:
    left: list[int] = []
    async with ScriptedUpstream() as upstream, client_of(upstream) as client:
        with pytest.raises(BadData, match="half of a character"):
            await client.send_pack(["a", "\ud800", "c"], left.append)
    assert left == [1]


async def test_a_pack_waits_for_a_connection_that_is_being_restored() -> None:
    heard: list[str | bytes] = []

    async def go_on(connection: Connection) -> None:
        await connection.greet()
        while True:
            heard.append(await connection.receive_text())

    async def fall(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.cut()

    async with (
        ScriptedUpstream(Twice(fall, go_on)) as upstream,
        client_of(upstream) as client,
    ):
        await client.send("custom", {})
        await until(lambda: client.state == "reconnecting" or len(upstream.connections) == 2)
        await client.send_pack(["a", "b"], lambda _: None)
        await until(lambda: heard == ["a", "b"])


async def test_packs_that_nobody_reads_wait_and_are_lost_with_their_connection() -> None:
    full = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.greet()
        await full.wait()
        await connection.cut()

    async def send_on(client: MegaBotClient) -> None:
        for _ in range(100):
            await client.send_pack(["x" * 1_000_000], lambda _: None)

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, reconnect=None) as client,
    ):
        sending = asyncio.get_running_loop().create_task(send_on(client), name="send")
        await asyncio.wait([sending], timeout=0.3)
        assert not sending.done()
        full.set()
        with pytest.raises(ConnectionLost, match="fell while a message was being sent"):
            await asyncio.wait_for(sending, 5)


async def test_a_pack_for_a_connection_that_is_closing_waits_for_the_next() -> None:
    heard: list[list[str | bytes]] = []

    async def script(connection: Connection) -> None:
        heard.append(mine := [])
        await connection.greet()
        while True:
            mine.append(await connection.receive_text())

    left: list[int] = []
    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        socket = client._sender._socket
        assert socket is not None
        transport = wire.upstream_transport(socket)
        assert transport is not None
        transport.abort()
        await client.send_pack(["a", "b"], left.append)
        await until(lambda: heard == [[], ["a", "b"]])


async def test_a_pack_leaves_in_the_form_that_the_client_has() -> None:
    heard: list[str | bytes] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            heard.append(await connection.receive_text())

    long = '{"id":"m","type":"x","payload":"' + "x" * 2000 + '"}'
    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, compression="gzip") as client,
    ):
        await client.send_pack([long, "short"], lambda _: None)
        await until(lambda: len(heard) == 2)
    assert heard == [compress(long.encode()), "short"]


async def test_packs_wait_for_their_turn_and_so_many_and_no_more() -> None:
    left: list[str] = []
    async with (
        ScriptedUpstream() as upstream,
        client_of(upstream, messages_per_second=100, burst=1, queue=1) as client,
    ):

        async def send(name: str) -> None:
            await client.send_pack([name, name], lambda _: left.append(name))

        results = await asyncio.gather(*map(send, "abc"), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), type(None), RateLimited]
        assert left == ["a", "a", "b", "b"]
        for name in "de":
            await send(name)  # who has sent does not wait any more


async def test_who_is_not_open_is_not_listened_to() -> None:
    client = MegaBotClient("ws://127.0.0.1:1/ws")
    with pytest.raises(RuntimeError, match="not open"):
        await asyncio.wait_for(client.listen(Ears().texts, Ears().other), 1)


# What who iterates is told


async def test_a_batch_is_told_as_the_messages_in_it_and_an_error_is_counted() -> None:
    inner = [f'{{"id":"m{n}","type":"connection_error","payload":{{}}}}' for n in range(2)]

    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text(wrap(inner, "b", 0.0))
        await connection.send("x", "plain")
        await connection.close()

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, reconnect=None) as client,
    ):
        _, *told, plain = await read_all(client)
        assert [received.text for received in told] == inner
        assert plain.head is not None
        assert plain.head.type == "x"
        assert (client.metrics().messages_received, client.metrics().errors) == (4, 2)
