"""A link that was told it sends too much sends more slowly, and quickens again."""

from __future__ import annotations

import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.relay.send_pace import HALVED_S, SendPace
from tests.relay.conftest import Stage, enveloped, hears_nothing
from tests.support.upstream import Connection, ScriptedUpstream


def left_within(pace: SendPace, begin: float, end: float) -> int:
    """How many messages leave in a time when as many want to as may."""
    now, count = begin, 0
    while (now := now + pace.wait_s(now)) < end:
        assert pace.take(now)
        count += 1
    return count


def test_an_objection_halves_the_rate_for_ten_seconds_then_it_rises_to_what_it_was() -> None:
    pace = SendPace(10.0, 10.0, now=0.0)
    assert pace.slow_down(0.0)
    assert left_within(pace, 0.0, HALVED_S) == pytest.approx(50, abs=1)
    assert left_within(pace, HALVED_S, HALVED_S + 5) == pytest.approx(37.5, abs=3)
    left_within(pace, HALVED_S + 5, HALVED_S + 6)
    assert pace.rate == 10.0
    assert left_within(pace, 20.0, 30.0) == pytest.approx(100, abs=11)


def test_objections_to_one_burst_count_once_and_later_ones_again() -> None:
    pace = SendPace(8.0, 8.0, now=0.0)
    assert [pace.slow_down(now) for now in (0.0, 0.1, 0.9, 1.5)] == [True, False, False, True]
    assert pace.rate == 2.0


def test_other_limits_hold_at_once_and_an_objection_stays_in_force() -> None:
    pace = SendPace(10.0, 10.0, now=0.0)
    pace.allow(2.0, 1.0, now=0.0)
    assert left_within(pace, 0.0, 10.0) == pytest.approx(20, abs=1)
    assert pace.slow_down(10.0)
    pace.allow(8.0, 8.0, now=10.0)
    assert left_within(pace, 10.0, 10.0 + HALVED_S) == pytest.approx(10, abs=1)
    left_within(pace, 20.0, 30.0)
    assert pace.rate == 8.0
    pace.allow(0.0, 1.0, now=30.0)
    assert all(pace.take(30.0) for _ in range(100))


def test_it_never_stands_still() -> None:
    pace = SendPace(1.0, 1.0, now=0.0)
    for second in range(0, 40, 2):
        pace.slow_down(float(second))
    assert pace.rate == 0.5
    assert left_within(pace, 40.0, 48.0) >= 3


def test_without_a_limit_nothing_is_held_back() -> None:
    pace = SendPace(0.0, 1.0, now=0.0)
    assert not pace.slow_down(0.0)
    assert all(pace.take(0.0) for _ in range(100))


async def test_the_upstreams_objection_reaches_its_asker_and_slows_the_link(stage: Stage) -> None:
    async def objects_once(connection: Connection) -> None:
        await connection.greet()
        refused = await connection.receive()
        error = {"error": "rate_limited", "message": "slow down", "code": 429}
        await connection.send("connection_error", error, reply_to=refused["id"])
        while True:
            asked = await connection.receive()
            await connection.send("chat_receive", {"content": "yes"}, reply_to=asked["id"])

    async with ScriptedUpstream(objects_once) as upstream:
        relay = await stage.open_relay(
            upstream.url, limits=LimitSettings(messages_per_second=20, burst=20)
        )
        peer = await stage.connect(relay.url)
        await peer.send("chat_send", "m0", content="hello")
        error = await peer.message("connection_error")
        assert (error["payload"]["code"], error["metadata"]["reply_to"]) == (429, "m0")
        began = relay.numbers.rate_limit_waits
        for number in range(1, 6):
            await peer.send("chat_send", f"m{number}", content="hello")
        answered = [(await peer.message("chat_receive"))["metadata"]["reply_to"] for _ in range(5)]
        assert answered == ["m1", "m2", "m3", "m4", "m5"]
        assert relay.numbers.rate_limit_waits - began == 5
        assert relay.numbers.upstream_rate_limits == 1


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_an_objection_within_a_batch_slows_the_link_too_and_one_to_itself_is_its_own(
    stage: Stage, mode: str
) -> None:
    async def objects(connection: Connection) -> None:
        await connection.greet()
        asked = await connection.receive()
        slower = enveloped("connection_error", "e1", error="rate_limited", message="", code=429)
        slower["metadata"] = {"reply_to": asked["id"]}
        renew = enveloped("connection_error", "e2", error="expired", message="", code=401)
        await connection.send("batch", {"messages": [slower, renew]})
        await connection.until_gone()

    async with ScriptedUpstream(objects) as upstream:
        limits = LimitSettings(messages_per_second=20, burst=20)
        relay = await stage.open_relay(upstream.url, mode=mode, limits=limits)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("chat_send", "m0", content="hello")
        assert (await peer.message())["id"] == "e1"
        assert await hears_nothing(peer)
        assert relay.numbers.upstream_rate_limits == 1
