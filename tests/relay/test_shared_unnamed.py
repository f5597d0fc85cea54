"""`shared` mode with an upstream that names no request: one of a kind is under way at a time."""

from __future__ import annotations

import asyncio
import json

import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.relay import session, upward
from tests.relay.conftest import Stage, hears_nothing, until
from tests.relay.test_shared import open_relay
from tests.support.upstream import Connection, Keeping, ScriptedUpstream


class Unnamed:
    """An upstream that names no request in its answers, as the specification's own does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            question = await connection.receive()
            self.asked.append(question["id"])
            await self.may_answer.acquire()
            await connection.stream("for ", question["id"])
            await connection.send("chat_receive", {"content": f"for {question['id']}"})


async def test_an_upstream_that_names_no_request_gets_one_at_a_time(stage: Stage) -> None:
    script = Unnamed()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: script.asked == ["m1"])
        await second.send("chat_send", "m2", content="two")
        await until(lambda: relay.numbers.messages_to_upstream == 2)
        await asyncio.sleep(0.05)
        assert script.asked == ["m1"]
        script.may_answer.release()
        assert (await first.message("chat_receive"))["payload"]["content"] == "for m1"
        await until(lambda: script.asked == ["m1", "m2"])
        script.may_answer.release()
        assert (await second.message("chat_stream"))["payload"]["chunk"] == "for "
        assert (await second.message("chat_receive"))["payload"]["content"] == "for m2"
        assert await hears_nothing(first)
        assert relay.numbers.routes["fifo"] >= 4


async def test_no_request_waits_longer_in_all_than_one_that_is_never_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upward, "HOLD_S", 1.0)
    came_at: list[float] = []
    clock = asyncio.get_running_loop().time

    async def never_answer(connection: Connection) -> None:
        await connection.greet()
        while True:
            await connection.receive()
            came_at.append(clock())

    async with ScriptedUpstream(never_answer) as upstream:
        relay = await open_relay(stage, upstream.url)
        peers = [(await stage.greeted(relay.url))[0] for _ in range(4)]
        began = clock()
        for number, peer in enumerate(peers):
            await peer.send("chat_send", f"m{number}", content="x")
        await until(lambda: len(came_at) == 4)
        assert came_at[1] - began >= 1.0
        assert came_at[3] - came_at[1] < 1.0


async def test_one_that_held_the_others_too_long_is_told_unknown_when_the_line_falls(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upward, "HOLD_S", 0.3)
    monkeypatch.setattr(session, "RESUMED_GRACE_S", 0.2)
    came: list[str] = []

    async def never_answer(connection: Connection) -> None:
        await connection.greet()
        while True:
            came.append((await connection.receive())["id"])
            if len(came) == 2:
                await connection.close(1001)

    async with ScriptedUpstream(never_answer) as upstream:
        relay = await open_relay(stage, upstream.url)
        peers = [(await stage.greeted(relay.url))[0] for _ in range(2)]
        for number, peer in enumerate(peers):
            await peer.send("chat_send", f"m{number}", content="x")
        for number, peer in enumerate(peers):
            unknown = await peer.message("connection_error", limit_s=20)
            assert unknown["payload"]["error"] == "delivery_unknown"
            assert unknown["metadata"]["reply_to"] == f"m{number}"


async def test_the_next_request_goes_when_the_asker_before_it_has_left(stage: Stage) -> None:
    script = Unnamed()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: script.asked == ["m1"])
        await first.socket.close()
        await second.send("chat_send", "m2", content="two")
        script.may_answer.release()
        script.may_answer.release()
        # The answer to m1 has no taker, and the second client is not given it.
        assert (await second.message("chat_receive"))["payload"]["content"] == "for m2"
        assert relay.numbers.routes["late"] >= 1


async def test_a_stream_without_a_whole_answer_after_it_holds_nobody_back_for_long(
    stage: Stage,
) -> None:
    async def only_stream(connection: Connection) -> None:
        await connection.greet()
        while True:
            question = await connection.receive()
            await connection.stream("for ", question["id"])

    async with ScriptedUpstream(only_stream) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        for turn in range(10):
            await first.send("chat_send", f"a{turn}", content="one")
            await second.send("chat_send", f"b{turn}", content="two")
        async with asyncio.timeout(8):  # half a second for each would be ten
            for turn in range(10):
                for peer, name in ((first, "a"), (second, "b")):
                    assert (await peer.message("chat_stream"))["payload"]["chunk"] == "for "
                    last = await peer.message("chat_stream")
                    assert last["payload"]["chunk"] == f"{name}{turn}"


async def test_a_client_whose_request_waits_is_not_overtaken_by_itself(stage: Stage) -> None:
    script = Unnamed()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: script.asked == ["m1"])
        await second.send("chat_send", "m2", content="two")
        await second.send("notification", "n2", title="after two")
        await until(lambda: relay.numbers.messages_to_upstream == 3)
        for _ in range(3):
            script.may_answer.release()
        await until(lambda: len(script.asked) == 3)
        assert script.asked == ["m1", "m2", "n2"]


async def test_a_request_that_waits_for_the_rate_limit_holds_others_of_its_kind_back(
    stage: Stage,
) -> None:
    """It has not gone up, and will be the one that an answer is taken for."""
    keeping = Keeping()

    def asked() -> list[str]:
        return [json.loads(text)["id"] for text in keeping.got]

    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=1, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("note", "n1", n=1)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 2)
        assert asked() in (["n1"], [])
        await second.send("chat_send", "m2", content="two")
        await second.send("note", "n2", n=2)
        await until(lambda: asked() == ["n1", "m1"])
        await asyncio.sleep(0.5)
        assert asked() == ["n1", "m1"]
