"""Frames built by hand are what RFC 6455 says, and aiohttp is built as we rely on."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.relay.wire import (
    BINARY,
    TEXT,
    MaskSource,
    client_frame,
    client_transport,
    deliver_to,
    server_frame,
    upstream_transport,
)


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


async def test_aiohttp_reads_our_frames_on_both_transports_that_we_reach() -> None:
    """When this fails, aiohttp is built differently: mend `relay/wire.py`, nothing else."""
    heard: list[bytes] = []
    past_the_queue: list[tuple[bytes, bool]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(decode_text=False)
        await socket.prepare(request)
        transport = client_transport(request)
        assert transport is not None
        message = await socket.receive()
        heard.append(message.data)
        assert deliver_to(socket, lambda data, binary: past_the_queue.append((data, binary)))
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
            answer = await socket.receive(timeout=5)
            assert answer.data == "grüße".encode()
            straight: list[bytes] = []
            assert deliver_to(socket, lambda data, _binary: straight.append(data))
            await socket.send_str("one")
            await socket.send_bytes(b"two")
        assert heard == [b"hello"]
        assert past_the_queue == [(b"one", False), (b"two", True)]
    finally:
        await runner.cleanup()
