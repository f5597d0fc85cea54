"""How many may come in, and what those leave behind who may not."""

from __future__ import annotations

import pytest

from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage, until


@pytest.mark.parametrize("named", [True, False], ids=["a session", "no session"])
async def test_one_client_too_many_is_closed_4504_and_dials_no_link(
    stage: Stage, gateway: Gateway, named: bool
) -> None:
    relay = await stage.open_relay(gateway.url, max_clients=1)
    await stage.greeted(relay.url)
    refused = await stage.connect(relay.url, "another" if named else None)
    error = (await refused.message("connection_error"))["payload"]
    assert (error["code"], error["error"]) == (429, "too_many_clients")
    assert await refused.close_code() == 4504
    assert len(relay.sessions) == 1
    assert (relay.numbers.dials, relay.numbers.refusals["full"]) == (1, 1)


async def test_one_client_too_many_on_a_session_is_closed_4504_and_others_may_come(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, max_clients_per_session=2)
    first, session = await stage.greeted(relay.url)
    await stage.greeted(relay.url, session)
    refused = await stage.connect(relay.url, session)
    assert await refused.close_code() == 4504
    await stage.greeted(relay.url)
    await first.socket.close()
    await until(lambda: len(relay.local_clients) == 2)
    await stage.greeted(relay.url, session)


async def test_of_two_origins_both_must_be_listed(stage: Stage, gateway: Gateway) -> None:
    origin = "http://localhost:5173"
    relay = await stage.open_relay(gateway.url, allowed_origins=[origin])
    for url in (f"{relay.admin_url}/metrics", relay.url.replace("ws:", "http:")):
        headers = [("Origin", origin), ("Origin", "https://evil.example")]
        async with stage.http.get(url, headers=headers) as response:
            assert response.status == 403
