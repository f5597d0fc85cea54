"""What clients have of a relay whose upstream goes, stays away, or comes back."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage, until
from tests.relay.test_relay import answer_to
from tests.support.upstream import Connection, ScriptedUpstream


async def test_clients_stay_while_the_upstream_is_away_and_what_waited_is_answered(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url)
    first, session = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url, session)
    await gateway.stop()
    for peer in (first, second):
        assert (await peer.message("status_update"))["payload"]["status"] == "reconnecting"
    await first.send("chat_send", "m1", content="while away")
    await until(lambda: relay.gauges().waiting_to_upstream == 1)
    gateway = await stage.open_gateway(port=gateway.port)
    for peer in (first, second):
        back = (await peer.message("status_update", limit_s=15))["payload"]
        assert (back["status"], "resumed" in back["message"]) == ("connected", True)
        assert await answer_to(peer, "m1")
    assert relay.numbers.reconnects == 1
    await relay.stop()
    await gateway.stop()


async def test_a_client_that_comes_while_the_upstream_is_away_is_greeted_on_a_known_session(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url)
    first, session = await stage.greeted(relay.url)
    await gateway.stop()
    await first.message("status_update")
    late, same = await stage.greeted(relay.url, session)
    assert same == session
    assert (await late.message())["payload"]["status"] == "reconnecting"


async def test_what_the_upstream_said_as_it_hung_up_is_told_to_clients_and_logged(
    stage: Stage,
) -> None:
    """A code alone says little: 1008 is a token that has ended, a ban, a broken rule."""

    async def hang_up(connection: Connection) -> None:
        if len(upstream.connections) == 1:
            await connection.greet("sess_1")
        await connection.receive()
        await connection.close(1008, f"The token\x1b[31m {stage.api_key} has expired.")

    async with ScriptedUpstream(hang_up) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        with structlog.testing.capture_logs() as logs:
            await peer.send("chat_send", "m1", content="?")
            news = [await peer.message("status_update")]
            late, _ = await stage.greeted(relay.url, "sess_1")  # the next dial is not greeted
            news.append(await late.message("status_update"))
        await relay.stop()
    said = "refused by policy (1008: The token [31m [secret] has expired)"
    for each in news:
        assert each["payload"]["message"].startswith(f"the upstream is away: {said}; ")
    (lost,) = (each for each in logs if each["event"] == "link.lost")
    assert lost["code"] == 1008
    assert "has expired." in lost["reason"]  # cleaned where it is written, as all that is logged


async def test_a_cut_line_is_told_apart_from_a_goodbye(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await gateway.drop_all()
    news = await peer.message("status_update")
    assert "(1006)" in news["payload"]["message"]
    peer.socket._response.close()
    await until(lambda: relay.numbers.clients_closed[1006] == 1)
    other, _ = await stage.greeted(relay.url)
    await other.socket.close(code=4321)
    await until(lambda: relay.numbers.clients_closed[4321] == 1)


async def test_a_link_that_nobody_keeps_is_dialled_at_the_start_all_the_same(
    stage: Stage, gateway: Gateway
) -> None:
    async with asyncio.timeout(5):
        relay = await stage.open_relay(gateway.url, linger_s=0.0)
    await until(lambda: not relay.sessions)
    assert relay.numbers.resumes["fresh"] == 1
    await stage.greeted(relay.url)


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_session_that_ended_upstream_ends_its_clients_4508_and_is_not_dialled_again(
    stage: Stage, mode: str
) -> None:
    async def end(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.close(4508, "logged out elsewhere")

    with structlog.testing.capture_logs() as logged:
        async with ScriptedUpstream(end) as upstream:
            relay = await stage.open_relay(upstream.url, mode=mode, linger_s=0.05)
            peer, _ = await stage.greeted(relay.url)
            dials = relay.numbers.dials
            await peer.send("chat_send", "m1", content="never answered")
            error = await peer.message("connection_error")
            assert error["payload"]["error"] == "delivery_unknown"
            assert error["metadata"]["reply_to"] == "m1"
            assert await peer.close_code() == 4508
            await until(lambda: not relay.sessions)
            assert relay.numbers.dials == dials
            other, _ = await stage.greeted(relay.url)  # on a new one
            await other.socket.close()
            await until(lambda: not relay.sessions)
    ended = [line["link"] for line in logged if line["event"] == "session.ended"]
    assert len(ended) == len(set(ended)) >= 2


async def test_what_waits_too_long_is_answered_503_by_id(stage: Stage) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url, wait_s=0.2)
    peer, _ = await stage.greeted(relay.url)
    await gateway.stop()
    await peer.message("status_update")
    await peer.send("chat_send", "m1", content="never delivered")
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "m1")


async def test_more_than_may_wait_is_refused_at_once_and_the_rest_is_kept(stage: Stage) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url, wait_messages=2)
    peer, _ = await stage.greeted(relay.url)
    await gateway.stop()
    await peer.message("status_update")
    for number in range(3):
        await peer.send("chat_send", f"m{number}", content="wait")
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "m2")
    assert relay.gauges().waiting_to_upstream == 2


async def test_a_request_that_was_written_but_never_answered_is_told_delivery_unknown(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway(latency_s=60.0)
    relay = await stage.open_relay(gateway.url)
    peer, session = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="lost")
    await until(lambda: relay.numbers.messages_to_upstream == 1)
    await asyncio.sleep(0.05)
    await gateway.stop()
    stage.forget_all(gateway.port)
    gateway = await stage.open_gateway(port=gateway.port)
    refusal = await peer.message("connection_error", limit_s=15)
    assert refusal["payload"]["error"] == "delivery_unknown"
    assert refusal["metadata"]["reply_to"] == "m1"
    assert refusal["metadata"]["session_id"] != session
    await relay.stop()
    await gateway.stop()


async def test_a_request_whose_upstream_stays_away_is_told_delivery_unknown_in_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.session.LONGEST_GRACE_S", 1.0)
    gateway = await stage.open_gateway(latency_s=60.0)
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="lost")
    await until(lambda: relay.numbers.messages_to_upstream == 1)
    await asyncio.sleep(0.05)
    await gateway.stop()  # and nobody comes back
    refusal = await peer.message("connection_error")
    assert refusal["payload"]["error"] == "delivery_unknown"
    assert refusal["metadata"]["reply_to"] == "m1"
    assert relay.numbers.delivery_unknown == 1


async def test_a_link_that_comes_back_without_naming_its_session_gets_the_verdict_unknown(
    stage: Stage,
) -> None:
    async def names_it_once(connection: Connection) -> None:
        if len(connection.upstream.connections) > 1:
            await connection.send("connection_established", {"user_id": "user_1"})
            await connection.until_gone()
            return
        await connection.greet()
        await connection.receive()
        await connection.cut()

    async with ScriptedUpstream(names_it_once) as upstream:
        with structlog.testing.capture_logs() as logged:
            relay = await stage.open_relay(upstream.url)
            peer, session = await stage.greeted(relay.url)
            await peer.send("chat_send", "m1", content="x")
            assert (await peer.message("status_update"))["payload"]["status"] == "reconnecting"
            back = (await peer.message("status_update", limit_s=15))["payload"]
            assert (back["status"], "(unknown)" in back["message"]) == ("connected", True)
            told = await peer.message("connection_error")
        assert (told["payload"]["error"], told["metadata"]["reply_to"]) == (
            "delivery_unknown",
            "m1",
        )
        (line,) = [each for each in logged if each["event"] == "link.came_back"]
        assert (line["verdict"], line["session"]) == ("unknown", session)
        assert relay.numbers.resumes["unknown"] == 1
        assert upstream.connections[1].query["session_id"] == session
        _, same = await stage.greeted(relay.url, session)
        assert same == session
