"""Links outlive their clients, for a while and not too many of them."""

from __future__ import annotations

import json

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage, until
from tests.support.upstream import Keeping, ScriptedUpstream


async def test_a_link_outlives_its_last_client_for_the_linger_time(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, linger_s=0.3)
    peer, session = await stage.greeted(relay.url)
    await peer.socket.close()
    await until(lambda: relay.gauges().clients == 0)
    assert gateway.connection_count == 1
    again, same = await stage.greeted(relay.url, session)
    assert same == session
    await again.socket.close()
    await until(lambda: gateway.connection_count == 0)


async def test_who_asks_one_thing_after_another_leaves_only_so_many_links_behind(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, linger_s=60.0, linger_links=2)
    for _ in range(6):
        peer, session = await stage.greeted(relay.url)
        await peer.socket.close()
        await until(lambda: relay.gauges().clients == 0)
    await until(lambda: gateway.connection_count == 2)
    _, same = await stage.greeted(relay.url, session)  # the one that was left last is there
    assert same == session
    assert gateway.connection_count == 2


async def test_what_a_client_had_sent_before_it_left_goes_up_before_its_session_ends(
    stage: Stage,
) -> None:
    keeping = Keeping()
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, linger_s=0.1)
        peer, _ = await stage.greeted(relay.url)
        sent = [f"m{number}" for number in range(8)]
        for message_id in sent:
            await peer.send("chat_send", message_id, content="?")
        await peer.socket.close()
        await until(lambda: not relay.sessions)
        assert [json.loads(text)["id"] for text in keeping.got] == sent
