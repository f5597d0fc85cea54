"""The specification's Python client, on the library `websockets`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.peers.specification_client import MegaBotWebSocketClient
from tests.peers.stage import ANSWER, QUESTION, Stage, answer_in

pytestmark = pytest.mark.peer


class Conversation(MegaBotWebSocketClient):
    """Says one thing and hears the answer out: the handling that the specification leaves open."""

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(url, token)
        self.messages: list[dict[str, Any]] = []
        self.extensions: list[str] = []
        self.close_code: int | None = None

    async def handle_connection(self, ws: websockets.ClientConnection) -> None:
        self.extensions = [extension.name for extension in ws.protocol.extensions]
        try:
            await self._hear(ws, "connection_established")
            await ws.send(
                json.dumps(
                    {
                        "id": "msg_125",
                        "type": "chat_send",
                        "payload": {"content": QUESTION, "platform": "web", "attachments": []},
                        "metadata": {"user_id": "user_789", "session_id": "sess_456"},
                    }
                )
            )
            await self._hear(ws, "chat_receive")
            await (await ws.ping())
        except ConnectionClosed:
            self.close_code = ws.close_code

    async def _hear(self, ws: websockets.ClientConnection, last: str) -> None:
        while not self.messages or self.messages[-1]["type"] != last:
            self.messages.append(json.loads(await ws.recv()))


async def test_the_specifications_python_client_talks_to_the_gateway(stage: Stage) -> None:
    client = Conversation(stage.gateway_url, stage.token)
    await client.connect()
    greeting = client.messages[0]["payload"]
    assert greeting["session_id"]
    assert greeting["user_id"]
    assert "streaming" in greeting["capabilities"]
    assert answer_in(client.messages, "msg_125") == ANSWER
    assert client.extensions == ["permessage-deflate"]


async def test_the_specifications_python_client_talks_to_the_relay_without_a_token(
    stage: Stage,
) -> None:
    client = Conversation(stage.relay_url)
    await client.connect()
    assert client.messages[0]["type"] == "connection_established"
    assert answer_in(client.messages, "msg_125") == ANSWER


async def test_a_token_in_the_query_does_as_well(stage: Stage) -> None:
    client = Conversation(stage.gateway_url_with_token)
    await client.connect()
    assert answer_in(client.messages, "msg_125") == ANSWER


async def test_a_bad_token_is_answered_and_then_closed(stage: Stage) -> None:
    client = Conversation(stage.gateway_url, "not-a-token")
    await client.connect()
    refusal = client.messages[0]
    assert refusal["type"] == "connection_error"
    assert refusal["payload"]["code"] == 401
    assert client.close_code == 1008


async def test_a_foreign_origin_gets_no_further_than_the_handshake(stage: Stage) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(stage.relay_url, origin=websockets.Origin("http://evil.example"))
    assert refused.value.response.status_code == 403


async def test_a_foreign_host_name_gets_no_further_than_the_handshake(stage: Stage) -> None:
    port = stage.relay_url.removesuffix("/ws").rpartition(":")[2]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            f"ws://rebound.example:{port}/ws", host="127.0.0.1", port=int(port)
        )
    assert refused.value.response.status_code == 403
