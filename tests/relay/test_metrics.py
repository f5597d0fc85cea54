"""What a scrape shows of a relay that is at work."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.errors import CouldNotConnect, NotAuthenticated
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.relay.loop_lag import EVERY_S, LoopLag
from megabot_cli.relay.server import Relay
from megabot_cli.telemetry.metrics import Histogram
from tests.relay.conftest import Stage, until
from tests.support.upstream import ScriptedUpstream

Scrape = dict[tuple[str, str], float]


async def scrape(stage: Stage, relay: Relay) -> Scrape:
    """Sample name and label values, joined → value."""
    async with stage.http.get(f"{relay.admin_url}/metrics") as answer:
        assert answer.status == 200
        families = list(text_string_to_metric_families(await answer.text()))
    return {
        (sample.name.removeprefix("megabot_relay_"), ",".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


async def test_a_conversation_shows_in_every_number_it_concerns(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    peer, _ = await stage.greeted(relay.url, role="executor")
    await peer.send("chat_send", "m1", content="hello")
    await peer.message("chat_receive")
    now = await scrape(stage, relay)
    assert now["typed_messages_total", "to_upstream,chat_send"] == 1
    assert now["typed_messages_total", "to_client,chat_stream"] >= 1
    assert now["typed_messages_total", "to_client,chat_receive"] == 1
    assert now["clients", ""] == now["executors", ""] == now["sessions", ""] == 1
    assert now["links", "test,up"] == now["dials_total", ""] == now["resumes_total", "fresh"] == 1
    assert now["links", "test,failed"] == 0
    assert now["forward_seconds_count", ""] == 1
    assert 0 < now["forward_seconds_sum", ""] < 5
    assert now["link_up_seconds_total", ""] > 0
    assert now["ring_messages", ""] >= 2
    assert now["ring_bytes", ""] > now["ring_messages", ""]
    assert now["requests", ""] == now["tool_calls", ""] == 0
    assert now["recorder_healthy", ""] == 1
    assert now["recorder_disk_full", ""] == now["recorder_dropped_records_total", ""] == 0


async def test_types_that_a_peer_makes_up_share_one_series(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    for number in range(20):
        await peer.send(f"made_up_{number}", f"m{number}")
    await peer.socket.send_str("no envelope")
    await until(lambda: relay.numbers.messages_to_upstream == 21)
    now = await scrape(stage, relay)
    assert now["typed_messages_total", "to_upstream,other"] == 20
    assert now["typed_messages_total", "to_upstream,none"] == 1
    assert sum(1 for name, _ in now if name == "typed_messages_total") == 2 * len(
        {*MESSAGE_TYPES, "other", "none"}
    )


async def test_a_link_that_falls_and_comes_back_is_counted_each_way(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    _, session = await stage.greeted(relay.url)
    relay.sessions[0].link.drop()
    await until(lambda: relay.numbers.link_losses.total() == 1)
    assert relay.numbers.reconnects == 0, "it has not come back yet"
    await until(lambda: relay.sessions[0].link.up)
    now = await scrape(stage, relay)
    assert now["link_losses_total", "1006"] == now["reconnects_total", ""] == 1
    assert now["resumes_total", "resumed"] == 1
    assert now["dials_total", ""] == 2
    assert relay.sessions[0].session_id == session


async def test_an_upstream_that_is_away_shows_in_dials_waiting_messages_and_drops(
    stage: Stage,
) -> None:
    upstream = ScriptedUpstream()
    async with upstream:
        relay = await stage.open_relay(upstream.url, wait_s=1.0)
        peer, _ = await stage.greeted(relay.url)
    await until(lambda: not relay.sessions[0].link.up)
    await peer.send("chat_send", "m1", content="is anybody there?")
    await until(lambda: relay.sessions[0].waiting == 1)
    now = await scrape(stage, relay)
    assert now["upstream_queue_messages", ""] == 1
    assert now["upstream_queue_bytes", ""] > 50
    assert now["ready", ""] == 0
    await peer.message("connection_error")
    await until(lambda: relay.numbers.dial_failures > 0)
    now = await scrape(stage, relay)
    assert now["dropped_messages_total", "upstream_away"] == 1
    assert now["error_answers_total", "upstream_unavailable"] == 1
    assert now["dial_failures_total", "could_not_connect"] >= 1


async def test_who_is_refused_is_counted_by_reason_at_both_listeners(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    base = relay.url.replace("ws://", "http://")
    for url, headers, status in (
        (base, {"Origin": "https://foreign.example"}, 403),
        (base, {"Host": "rebound.example"}, 403),
        (base, {}, 426),
        (f"{base}?profile=nobody", {}, 404),
        (f"{relay.admin_url}/metrics", {"Host": "rebound.example"}, 403),
        (f"{relay.admin_url}/metrics", {"Origin": "null"}, 403),
    ):
        async with stage.http.get(url, headers=headers) as answer:
            assert answer.status == status
    async with stage.http.post(f"{relay.admin_url}/relay/drain") as answer:
        assert answer.status == 403
    now = await scrape(stage, relay)
    counted = {reason: now["refusals_total", reason] for reason in ("origin", "host", "upgrade")}
    assert counted == {"origin": 2, "host": 2, "upgrade": 1}
    assert now["refusals_total", "header"] == now["refusals_total", "unknown_profile"] == 1


async def test_a_token_shows_when_it_came_and_when_it_ends(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    now = await scrape(stage, relay)
    assert abs(now["token_obtained_timestamp_seconds", "test"] - time.time()) < 60
    assert ("token_expiry_timestamp_seconds", "test") not in now, "an API key does not expire"


async def test_renewals_of_the_credential_are_counted_by_outcome(
    stage: Stage, gateway: Gateway
) -> None:
    endpoint = parse_endpoint(gateway.url)
    tokens = TokenSource(stage.http, endpoint, credential=None, login=("ada", "a-password"))
    await tokens.current()
    assert tokens.outcomes == {"renewed": 1}
    assert tokens.obtained_at is not None
    stranger = TokenSource(stage.http, endpoint, credential=None, login=("ada", "wrong"))
    with pytest.raises(NotAuthenticated):
        await stranger.current()
    await gateway.stop()
    with pytest.raises(CouldNotConnect):
        await stranger.current()
    assert stranger.outcomes == {"refused": 1, "failed": 1}


async def test_a_token_is_renewed_before_it_ends_and_no_link_is_dialled_for_it(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.token_keeping.LOOK_S", 0.02)
    relay = await stage.open_relay(gateway.url)
    endpoint = parse_endpoint(gateway.url)
    ends_soon = Credential("jwt", "not.asked.for", endpoint.origin, expires_at=time.time() + 0.5)
    tokens = TokenSource(stage.http, endpoint, credential=ends_soon, login=("ada", "a-password"))
    tokens.outcomes = relay.numbers.auth_refreshes
    relay.main.parts.tokens = tokens
    await until(lambda: relay.numbers.auth_refreshes["renewed"] == 1)
    now = await scrape(stage, relay)
    assert now["token_expiry_timestamp_seconds", "test"] > time.time() + 60
    assert now["token_renewable", "test"] == 1
    assert now["dials_total", ""] == now["links", "test,up"] == 1


async def test_a_token_that_cannot_be_renewed_does_not_overrun_the_upstream(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.token_keeping.LOOK_S", 0.01)
    relay = await stage.open_relay(gateway.url)
    endpoint = parse_endpoint(gateway.url)
    ended = Credential("jwt", "not.asked.for", endpoint.origin, expires_at=time.time() - 5)
    tokens = TokenSource(stage.http, endpoint, credential=ended, login=("ada", "wrong"))
    tokens.outcomes = relay.numbers.auth_refreshes
    relay.main.parts.tokens = tokens
    await until(lambda: relay.numbers.auth_refreshes["refused"] == 1)
    await asyncio.sleep(0.3)
    assert relay.numbers.auth_refreshes == {"refused": 1}
    assert relay.sessions[0].link.up, "what is connected stays so"


async def test_a_silent_socket_counts_as_a_stranger_until_it_speaks(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    port = int(relay.url.rpartition(":")[2].partition("/")[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: relay.gauges().strangers >= 1)
    writer.close()
    await writer.wait_closed()


async def test_a_loop_that_is_held_up_shows_its_lag() -> None:
    lag_s = Histogram()
    watch = LoopLag(asyncio.get_running_loop(), lag_s)
    watch.start()
    time.sleep(EVERY_S + 0.4)  # noqa: ASYNC251  holding the loop up is the point
    await until(lambda: sum(lag_s.counts) >= 1)
    watch.stop()
    assert lag_s.sum >= 0.2
    assert sum(lag_s.counts[lag_s.bounds.index(0.25) :]) >= 1


async def test_a_loop_held_up_for_long_was_late_at_each_look_that_it_missed() -> None:
    """Else a relay that stands still for a second now and then would be late once in a while."""
    lag_s = Histogram()
    watch = LoopLag(asyncio.get_running_loop(), lag_s)
    watch.start()
    time.sleep(5 * EVERY_S)  # noqa: ASYNC251  holding the loop up is the point
    await until(lambda: sum(lag_s.counts) >= 4)
    watch.stop()
    assert sum(lag_s.counts[lag_s.bounds.index(0.25) + 1 :]) >= 4


async def test_metrics_go_out_as_the_text_format(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    async with aiohttp.ClientSession() as http, http.get(f"{relay.admin_url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
