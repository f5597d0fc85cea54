"""What the specification asks of a connection, kept for clients that connect through a relay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.config.schema import ProfileSettings
from megabot_cli.relay.identity import Served
from tests.relay.conftest import Stage, open_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as stage:
        yield stage


async def test_the_end_of_a_relays_token_is_no_refusal_for_its_clients(stage: Stage) -> None:
    gateway = await stage.open_gateway(token_lifetime_s=1.5)
    endpoint = parse_endpoint(gateway.url)

    def open_tokens(http: aiohttp.ClientSession) -> TokenSource:
        return TokenSource(http, endpoint, credential=None, login=("ada", "a-password"))

    by_login = Served("ada", ProfileSettings(url=gateway.url), open_tokens)
    try:
        relay = await stage.open_relay(gateway.url, also=[by_login])
        peer, _ = await stage.greeted(f"{relay.url}/ada")
        heard = await peer.message()
        while heard["payload"]["status"] != "connected":
            assert heard["type"] == "status_update"  # and no connection_error
            heard = await peer.message()
        assert "resumed" in heard["payload"]["message"]
        await peer.send("chat_send", "after", content="still here?")
        answer = await peer.message("chat_receive")
        assert answer["metadata"]["reply_to"] == "after"
    finally:
        await gateway.stop()
