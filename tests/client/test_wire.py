"""Frames built by hand are what RFC 6455 says, and aiohttp is built as we rely on."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import aiohttp
import aiohttp.client
import aiohttp.web_ws
import pytest
from aiohttp import web
from aiohttp._websocket.reader import WebSocketReader
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client.masks import MaskSource
from megabot_cli.client.wire import (
    CAN_HEAR,
    ClientsReader,
    DirectQueue,
    DirectReader,
    HeardSocket,
    UpstreamsReader,
    client_frame,
    deliver_to,
    frame_writer,
    room_for_more,
    upstream_transport,
)
from megabot_cli.protocol.frames import BINARY, TEXT, server_frame


def read_frame(frame: bytes) -> tuple[int, bytes]:
    """Decode one frame by the letter of RFC 6455, 5.2."""
    size, at = frame[1] & 0x7F, 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(frame[2:10], "big"), 10
    if not frame[1] & 0x80:
        assert len(frame) == at + size
        return frame[0], frame[at:]
    mask, body = frame[at : at + 4], frame[at + 4 :]
    assert len(body) == size
    return frame[0], bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))


@given(st.binary(max_size=400), st.sampled_from([TEXT, BINARY]))
def test_any_message_is_read_back_from_a_server_frame(data: bytes, first_byte: int) -> None:
    assert read_frame(server_frame(data, first_byte)) == (first_byte, data)


@given(st.binary(max_size=400), st.binary(min_size=4, max_size=4))
def test_any_message_is_read_back_from_a_client_frame(data: bytes, mask: bytes) -> None:
    assert read_frame(client_frame(data, mask)) == (TEXT, data)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_the_length_takes_the_form_the_rfc_gives_for_its_size(size: int) -> None:
    data = b"x" * size
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert len(server_frame(data)) == head + size
    assert len(client_frame(data, b"abcd")) == head + 4 + size
    assert read_frame(client_frame(data, b"abcd")) == (TEXT, data)


def test_masks_are_four_bytes_and_do_not_repeat() -> None:
    source = MaskSource()
    masks = [source.take() for _ in range(3000)]
    assert all(len(mask) == 4 for mask in masks)
    assert len(set(masks)) > 2990


# What `client.wire` asks of aiohttp's objects that they do not show, by who has it.
BELOW = {
    "server's socket": {
        *("_reader", "_parser", "_writer", "_req", "_exception"),
        *("_close_transport", "_handshake", "_on_data_received", "_reset_heartbeat"),
    },
    "client's socket": {
        *("_reader", "_parser", "_writer", "_response", "_closed"),
        *("_set_closed", "_on_data_received", "_reset_heartbeat"),
    },
    "writer": {"_closing", "_write_websocket_frame"},
    "protocol": {"_drain_helper"},
    "queue": {"_buffer"},
}


async def test_all_that_is_asked_of_aiohttp_is_there() -> None:
    """When this fails, aiohttp is built differently: mend `client/wire.py`, nothing else."""
    assert vars(aiohttp.web_ws)["WebSocketReader"] is ClientsReader
    assert vars(aiohttp.client)["WebSocketReader"] is UpstreamsReader
    assert vars(aiohttp.web_ws)["WebSocketDataQueue"] is DirectQueue
    assert vars(aiohttp.client)["WebSocketDataQueue"] is DirectQueue
    assert CAN_HEAR
    served: list[Any] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        served.append(socket)
        await socket.send_str("there")
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client, client.ws_connect("/") as ours:
        await ours.receive(timeout=5)
        for kind, socket in (("server's socket", served[0]), ("client's socket", ours)):
            assert missing(kind, socket) == set()
            assert isinstance(socket._parser, DirectReader)
            assert isinstance(socket._reader, DirectQueue)
            assert missing("writer", socket._writer) == set()
            assert missing("protocol", socket._writer.protocol) == set()
            assert missing("queue", socket._reader) == set()
            assert callable(frame_writer(socket))
        assert upstream_transport(ours) is not None
        request = served[0]._req
        assert len(served[0]._handshake(request)) == 4


def missing(kind: str, of: object) -> set[str]:
    return {name for name in BELOW[kind] if not hasattr(of, name)}


async def test_aiohttp_reads_our_frames_on_both_transports_that_we_reach() -> None:
    """When this fails, aiohttp is built differently: mend `client/wire.py`, nothing else."""
    heard: list[bytes] = []
    past_the_queue: list[tuple[bytes, bool]] = []

    def take(batch: list[bytes], binary: bool, _whole: bytes | None = None, /) -> None:
        past_the_queue.extend((data, binary) for data in batch)

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(decode_text=False)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        message = await socket.receive()
        heard.append(message.data)
        assert deliver_to(socket, take)
        transport.write(server_frame("grüße".encode()))
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"http://127.0.0.1:{port}/ws", decode_text=False) as socket,
        ):
            transport = upstream_transport(socket)
            assert transport is not None
            transport.write(client_frame(b"hello", MaskSource().take()))
            await room_for_more(socket)
            answer = await socket.receive(timeout=5)
            assert answer.data == "grüße".encode()
            straight: list[bytes] = []
            assert deliver_to(socket, lambda batch, _binary, _whole=None: straight.extend(batch))
            await socket.send_str("one")
            await socket.send_bytes(b"two")
        assert heard == [b"hello"]
        assert past_the_queue == [(b"one", False), (b"two", True)]
    finally:
        await runner.cleanup()


class Halted:
    """As much of a connection as the queue asks for."""

    _reading_paused = False

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False


def queue_and_reader(*, compress: bool = False) -> tuple[Any, Any]:
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    return queue, DirectReader(queue, 2**20, compress, False)


async def test_what_one_read_brings_is_handed_on_together_and_in_order() -> None:
    queue, reader = queue_and_reader()
    batches: list[tuple[list[bytes], bool, bytes | None]] = []
    queue.sink = lambda batch, binary, whole: batches.append((batch, binary, whole))
    frames = b"".join(server_frame(b"no %d" % number) for number in range(5))
    reader.feed_data(frames[:-1])  # the last one is not whole yet
    reader.feed_data(frames[-1:])
    assert batches == [
        ([b"no 0", b"no 1", b"no 2", b"no 3"], False, frames[:24]),
        ([b"no 4"], False, frames[24:]),
    ]


async def test_a_ping_in_between_takes_the_queue_and_what_follows_waits_behind_it() -> None:
    queue, reader = queue_and_reader()
    straight: list[bytes] = []
    queue.sink = lambda batch, _binary, _whole=None: straight.extend(batch)
    ping = b"\x89\x00"
    reader.feed_data(server_frame(b"a") + server_frame(b"b", BINARY) + ping + server_frame(b"c"))
    assert straight == [b"a", b"b"]
    kinds = [(await queue.read()).type for _ in range(2)]
    assert kinds == [aiohttp.WSMsgType.PING, aiohttp.WSMsgType.TEXT]
    reader.feed_data(server_frame(b"d"))
    assert straight == [b"a", b"b", b"d"]


async def test_whoever_takes_may_ask_for_patience_and_the_rest_of_the_read_waits() -> None:
    queue, reader = queue_and_reader()
    straight: list[bytes] = []

    def take(batch: list[bytes], _binary: bool, _whole: bytes | None = None) -> None:
        straight.extend(batch)
        queue.sink = None

    queue.sink = take
    large = b"x" * 5000  # handed on before the rest is parsed
    reader.feed_data(server_frame(b"a") + server_frame(large) + server_frame(b"c"))
    assert straight == [b"a", large]
    assert (await queue.read()).data == b"c"


async def test_what_aiohttp_itself_puts_into_the_queue_is_there_at_once() -> None:
    queue, _ = queue_and_reader()
    queue.sink = lambda _batch, _binary, _whole=None: None
    queue.feed_data(aiohttp.WSMessage(aiohttp.WSMsgType.CLOSING, None, None), 0)
    assert (await queue.read()).type is aiohttp.WSMsgType.CLOSING


async def test_a_fault_of_who_takes_ends_the_reading_with_it() -> None:
    queue, reader = queue_and_reader()

    def fail(_batch: list[bytes], _binary: bool, _whole: bytes | None = None) -> None:
        raise ZeroDivisionError

    queue.sink = fail
    assert reader.feed_data(server_frame(b"a")) == (True, b"")
    assert isinstance(queue.exception(), ZeroDivisionError)


FRAMES = st.one_of(
    st.binary(max_size=300).map(lambda data: server_frame(data)),
    st.binary(max_size=300).map(lambda data: client_frame(data, b"mask")),
    st.sampled_from([0, 125, 126, 5000, 20_000, 65_535, 65_536]).map(
        lambda size: server_frame(b"x" * size)
    ),
    # heads that are longer than they need be
    st.binary(max_size=40).map(lambda data: struct.pack(">BBH", TEXT, 126, len(data)) + data),
    st.binary(max_size=40).map(lambda data: struct.pack(">BBQ", TEXT, 127, len(data)) + data),
    st.binary(max_size=40).map(lambda data: server_frame(data, BINARY)),
    st.binary(max_size=20).map(lambda data: server_frame(data, 0x89)),  # ping
    st.binary(max_size=20).map(lambda data: client_frame(data, b"mask", 0x8A)),  # pong
    # a message in three pieces, with a ping between them
    st.binary(max_size=20).map(
        lambda data: (
            server_frame(data, 0x01)
            + server_frame(b"", 0x89)
            + server_frame(data, 0x00)
            + server_frame(data, 0x80)
        )
    ),
    st.just(server_frame(b"\x03\xe8bye", 0x88)),  # close
    st.just(server_frame(b"a", 0x80)),  # the end of nothing: an error
)


async def _drained(queue: Any) -> list[tuple[Any, Any]]:
    found = []
    while queue._buffer:
        message = await queue.read()
        found.append((message.type, message.data))
    return found


async def _read_in_pieces(pieces: list[bytes], reader_class: Any) -> tuple[list[Any], bool]:
    """All messages in their order, and whether it ended in an error. Whatever waits in the
    queue after a read is taken out, as `reading` does."""
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    reader = reader_class(queue, 2**20, False, False)
    came: list[Any] = []

    def take(batch: list[bytes], binary: bool, whole: bytes | None = None) -> None:
        kind = aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT
        if whole is not None:
            assert whole == b"".join(_framed_anew(whole, batch))
        came.extend((kind, bytes(data)) for data in batch)

    if reader_class is DirectReader:
        queue.sink = take
    failed = False
    for piece in pieces:
        failed, _ = reader.feed_data(piece)
        came += await _drained(queue)
        if failed:
            break
    return came, failed


def _framed_anew(whole: bytes, batch: list[bytes]) -> Iterator[bytes]:
    """Frames of our own around these texts, masked where, and as, those in `whole` are."""
    at = 0
    for text in batch:
        frame = server_frame(text)
        if whole[at + 1] & 0x80:
            frame = client_frame(text, whole[at + len(frame) - len(text) :][:4])
        at += len(frame)
        yield frame


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 200_000), max_size=12))
async def test_any_frames_cut_anywhere_are_read_as_aiohttp_reads_them(
    frames: list[bytes], cuts: list[int]
) -> None:
    whole = b"".join(frames)
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
    ours, ours_failed = await _read_in_pieces(pieces, DirectReader)
    theirs, theirs_failed = await _read_in_pieces(pieces, WebSocketReader)
    assert ours_failed == theirs_failed
    # Of one read, what waits in the queue is behind what went straight: the order that counts
    # is that of messages, and control frames keep theirs among themselves.
    for texts in (True, False):
        assert _of(ours, texts=texts) == _of(theirs, texts=texts)


def _of(came: list[Any], *, texts: bool) -> list[Any]:
    kinds = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
    return [each for each in came if (each[0] in kinds) == texts]


async def test_a_frame_that_comes_byte_by_byte_is_handed_on_when_it_is_whole() -> None:
    queue, reader = queue_and_reader()
    straight: list[bytes] = []
    queue.sink = lambda batch, _binary, _whole=None: straight.extend(batch)
    for frame in (client_frame(b"x" * 200, b"mask"), server_frame(b"y"), server_frame(b"")):
        for place in range(len(frame)):
            reader.feed_data(frame[place : place + 1])
    assert straight == [b"x" * 200, b"y", b""]


async def test_a_message_above_the_limit_is_refused_by_its_head_alone() -> None:
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    reader: Any = DirectReader(queue, 1000, False, False)
    queue.sink = lambda _batch, _binary, _whole=None: None
    assert reader.feed_data(server_frame(b"x" * 1001)[:4]) == (True, b"")


async def test_what_a_full_queue_kept_back_is_behind_what_is_just_being_read() -> None:
    queue, reader = queue_and_reader()
    large = [server_frame(bytes([letter]) * 200_000) for letter in b"abc"]
    reader.feed_data(b"".join(large))  # nobody takes: one waits, and the rest is kept back
    straight: list[bytes] = []
    queue.sink = lambda batch, _binary, _whole=None: straight.extend(batch)
    read = [(await queue.read()).data[:1] for _ in range(3)]
    assert (read, straight) == ([b"a", b"b", b"c"], [])


@pytest.mark.parametrize("reads_directly", [True, False])
@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("reader_class", "good", "bad", "said"),
    [
        (ClientsReader, client_frame(b"good", b"mask"), server_frame(b"bad"), "without a mask"),
        (ClientsReader, client_frame(b"good", b"mask"), server_frame(b"bad", 0x89), "without"),
        (UpstreamsReader, server_frame(b"good"), client_frame(b"bad", b"mask"), "masked frame"),
        (UpstreamsReader, server_frame(b"good"), client_frame(b"", b"mask", 0x88), "masked"),
    ],
)
async def test_a_frame_with_the_mask_of_the_other_side_ends_the_connection(
    reader_class: type[Any], good: bytes, bad: bytes, said: str, cut: int, reads_directly: bool
) -> None:
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    reader = reader_class(queue, 2**20, False, False)
    came: list[bytes] = []
    if reads_directly:
        queue.sink = lambda batch, _binary, _whole=None: came.extend(batch)
    read = good + bad + good
    for at in range(0, len(read), cut):
        failed, _ = reader.feed_data(read[at : at + cut])
        if failed:
            break
    assert failed
    fault = queue.exception()
    assert isinstance(fault, aiohttp.WebSocketError)
    assert (fault.code, said in str(fault)) == (1002, True)
    assert came == [b"good"] * reads_directly


@pytest.mark.parametrize("reads_directly", [True, False])
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
async def test_a_close_code_that_must_not_be_sent_breaks_the_protocol(
    code: int, reads_directly: bool
) -> None:
    """RFC 6455, 7.4. aiohttp itself takes 1006, and what is above 4999."""
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    reader = ClientsReader(queue, 2**20, False, False)
    if reads_directly:
        queue.sink = lambda _batch, _binary, _whole=None: None
    failed, _ = reader.feed_data(client_frame(struct.pack(">H", code), b"mask", 0x88))
    assert failed
    fault = queue.exception()
    assert isinstance(fault, aiohttp.WebSocketError)
    assert (fault.code, str(code) in str(fault)) == (1002, True)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1014, 3000, 4999])
async def test_a_close_code_that_may_be_sent_is_read(code: int | None) -> None:
    queue: Any = DirectQueue(Halted(), 2**16, loop=asyncio.get_running_loop())
    data = b"" if code is None else struct.pack(">H", code)
    reader = ClientsReader(queue, 2**20, False, False)
    assert reader.feed_data(client_frame(data, b"mask", 0x88)) == (False, b"")
    assert (await queue.read()).data == (code or 0)


async def test_who_takes_and_fails_ends_the_connection_with_1011() -> None:
    def fail(_batch: list[bytes], _binary: bool, _whole: bytes | None = None, /) -> None:
        raise ZeroDivisionError

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = HeardSocket(decode_text=False)
        await socket.prepare(request)
        deliver_to(socket, fail)
        assert (await socket.receive()).type is aiohttp.WSMsgType.ERROR
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client, client.ws_connect("/") as socket:
        await socket.send_str("{}")
        message = await socket.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
