"""What waits for the rate limit loses nothing, and leaves as batches where that is asked for."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.batching import unwrap, wrap
from tests.relay.conftest import Stage, signing, until
from tests.relay.echo_upstream import echo_upstream
from tests.relay.test_relay import answer_to
from tests.support.upstream import Connection, Keeping, ScriptedUpstream


async def test_the_rate_limit_delays_and_loses_nothing(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(
        gateway.url, limits=LimitSettings(messages_per_second=50, burst=2, queue=100)
    )
    peer, _ = await stage.greeted(relay.url)
    started_at = asyncio.get_running_loop().time()
    for number in range(12):
        await peer.send("chat_send", f"m{number}", content="quick")
    for number in range(12):
        await answer_to(peer, f"m{number}")
    assert asyncio.get_running_loop().time() - started_at >= (12 - 2) / 50 - 0.02
    assert relay.numbers.rate_limit_waits >= 1


async def test_a_full_queue_is_answered_429_and_what_was_accepted_is_sent(stage: Stage) -> None:
    async with echo_upstream() as url:
        limits = LimitSettings(messages_per_second=20, burst=1, queue=3)
        relay = await stage.open_relay(url, limits=limits)
        peer, _ = await stage.greeted(relay.url)
        for number in range(6):
            await peer.send("x", f"m{number}", n=1)
        refused, echoed = set(), []
        for _ in range(6):
            message = await peer.message()
            if message["type"] == "connection_error":
                assert message["payload"]["code"] == 429
                refused.add(message["metadata"]["reply_to"])
            else:
                echoed.append(message["id"])
        assert refused == {"m4", "m5"}
        assert echoed == ["m0", "m1", "m2", "m3"]


async def test_what_waits_for_the_rate_limit_leaves_as_batches_with_every_text_unchanged(
    stage: Stage,
) -> None:
    keeping = Keeping()
    got = keeping.got
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        texts = [
            f'{{ "id":"m{n}", "type":"chat_send","payload":{{"content":"n {n}"}},"timestamp":1.0}}'
            for n in range(26)
        ]
        for text in texts:
            await peer.socket.send_str(text)
        await until(lambda: sum(len(unwrap(text)) or 1 for text in got) == 26)
        assert [inner for text in got for inner in unwrap(text) or [text]] == texts
        assert len(got) <= 5
        assert relay.numbers.batches >= 2


@pytest.mark.parametrize("folded", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_what_is_in_a_batch_of_a_clients_counts_each_for_the_rate_limit(
    stage: Stage, mode: str, folded: bool
) -> None:
    times: list[float] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        while True:
            await connection.receive_text()
            times.append(asyncio.get_running_loop().time())

    async with ScriptedUpstream(keep) as upstream:
        limits = LimitSettings(messages_per_second=50, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, mode=mode)
        peer, _ = await stage.greeted(relay.url, **({"compression": "gzip"} if folded else {}))
        good = '{"id":"m%d","type":"my_type","payload":{"n":1},"timestamp":1}'
        batch = wrap([good % number for number in range(10)], "b", 1.0)
        for _ in range(4):  # the first leaves at once, the others wait in the queue
            if folded:
                await peer.socket.send_bytes(gzip.compress(batch.encode()))
            else:
                await peer.socket.send_str(batch)
        await peer.socket.send_str(good % 11)
        await until(lambda: len(times) == 5)
        assert times[-1] - times[0] >= 40 / 50 - 0.1


async def test_a_batch_takes_in_nothing_that_would_spoil_it(stage: Stage) -> None:
    keeping = Keeping()
    got = keeping.got
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=20, burst=1, max_message_bytes=2000)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        good = '{"id":"m%d","type":"chat_send","payload":{"content":"%s"},"timestamp":1}'
        texts = [good % (0, "x"), good % (1, "x"), "plain words", good % (2, "y" * 900)]
        texts += [good % (3, "z" * 900), good % (4, "x"), good % (5, ""), good % (6, "x")]
        for text in texts:
            await peer.socket.send_str(text)
        await until(lambda: sum(len(unwrap(text)) or 1 for text in got) == len(texts))
        assert [inner for text in got for inner in unwrap(text) or [text]] == texts
        assert "plain words" in got
        assert texts[6] in got  # an empty content is against the rules
        assert all(len(text) <= 2000 for text in got)


async def test_a_clients_own_batch_leaves_as_it_came_also_where_the_relay_makes_some(
    stage: Stage,
) -> None:
    keeping = Keeping()
    got = keeping.got
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        good = '{"id":"m%d","type":"x","payload":{},"timestamp":1}'
        own = wrap([good % 3, good % 4], "own", 1.0)
        for text in [good % 0, good % 1, good % 2, own, good % 5]:
            await peer.socket.send_str(text)
        await until(lambda: good % 5 in got)
        assert [good % 0, own, good % 5] == [got[0], *got[2:]]
        assert unwrap(got[1]) == [good % 1, good % 2]


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_who_is_in_a_batch_of_the_relays_hears_by_id_that_it_was_refused(
    stage: Stage, mode: str
) -> None:
    """Nobody knows the batch's own id: what was in it would be waited for in vain."""
    batches: list[str] = []

    async def refuse_batches(connection: Connection) -> None:
        await connection.greet()
        while True:
            text = str(await connection.receive_text())
            if inner := unwrap(text):
                batches.extend(inner)
                refusal = {"error": "rate_limited", "message": "too much", "code": 429}
                await connection.send(
                    "connection_error", refusal, reply_to=json.loads(text)["id"], hint="slowly"
                )

    async with ScriptedUpstream(refuse_batches) as upstream:
        limits = LimitSettings(messages_per_second=20, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        for number in range(5):
            await peer.send("note", f"m{number}", n=number)
        refused = [await peer.message() for _ in range(4)]
        assert [each["metadata"]["reply_to"] for each in refused] == ["m1", "m2", "m3", "m4"]
        assert {each["metadata"]["hint"] for each in refused} == {"slowly"}
        assert {each["payload"]["code"] for each in refused} == {429}
        assert {each["timestamp"] for each in refused} == {1640995200}
        assert len({each["id"] for each in refused}) == 4
        assert len(batches) == 4
        assert not relay.sessions[0].routing.requests
        assert relay.numbers.upstream_rate_limits == 1


async def test_where_messages_are_signed_the_relay_makes_no_batches(
    stage: Stage, tmp_path: Path
) -> None:
    """Its own signature would not help: one message without any has all the others refused."""
    keeping = Keeping()
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=50, burst=1)
        relay = await stage.open_relay(
            upstream.url, limits=limits, batching=True, integrity=signing(tmp_path)
        )
        peer, _ = await stage.greeted(relay.url)
        for number in range(5):
            await peer.send("note", f"m{number}", n=number)
        await until(lambda: len(keeping.got) == 5)
    assert relay.numbers.batches == 0
