"""Programs that none of us wrote read why a message that was far too big ended their connection."""

from __future__ import annotations

import contextlib

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.peers.stage import Stage

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("whose", ["relay", "gateway"])
async def test_the_library_websockets_sees_1009(stage: Stage, whose: str) -> None:
    url = stage.relay_url if whose == "relay" else stage.gateway_url_with_token
    async with websockets.connect(url, compression=None) as socket:
        with contextlib.suppress(ConnectionClosed):
            await socket.send(b"x" * (20 << 20))
            while True:
                await socket.recv()
    assert socket.close_code == 1009
