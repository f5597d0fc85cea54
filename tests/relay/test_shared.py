"""`shared` mode: one link for all; an answer goes to the one that asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.frames import server_frame
from megabot_cli.relay.outbox import WORTH_A_GROUP
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, enveloped, hears_nothing, until
from tests.support.upstream import Connection, ScriptedUpstream


async def open_relay(stage: Stage, url: str, **options: Any) -> Relay:
    return await stage.open_relay(url, mode="shared", **options)


async def test_all_clients_share_one_link_and_each_gets_its_own_answers(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url)
    peers = [(await stage.greeted(relay.url))[0] for _ in range(5)]
    for number, peer in enumerate(peers):
        for turn in range(3):
            await peer.send("chat_send", f"m{number}_{turn}", content=f"I am {number}")
    for number, peer in enumerate(peers):
        ended = 0
        while ended < 3:
            message = await peer.message()
            assert message["metadata"]["reply_to"].startswith(f"m{number}_"), message
            ended += message["type"] == "chat_receive"
        assert await hears_nothing(peer, 0.02)
    assert gateway.connection_count == 1
    assert relay.numbers.routes["exact"] > 15
    assert not relay.numbers.routes["broadcast"]


async def answer_each(connection: Connection) -> None:
    """An upstream that answers whatever comes, and says what it answers."""
    await connection.greet()
    while True:
        asked = await connection.receive()
        for each in asked["payload"].get("messages", [asked]):
            content = {"content": f"for {each['id']}"}
            await connection.send("chat_receive", content, reply_to=each["id"])


async def hears_of(peer: Peer, *message_ids: str) -> None:
    """These are answered, in this order, and nothing else."""
    for message_id in message_ids:
        message = await peer.message()
        assert message["metadata"]["reply_to"] == message_id, message
    assert await hears_nothing(peer, 0.05)


async def test_whatever_a_client_sent_is_answered_to_it_alone(stage: Stage) -> None:
    async with ScriptedUpstream(answer_each) as upstream:
        relay = await open_relay(stage, upstream.url)
        asker, _ = await stage.greeted(relay.url)
        other, _ = await stage.greeted(relay.url)
        await asker.send("session_join", "j1", session_id="s")
        await asker.send("collaborative_action", "c1", session_id="s", action="cursor_move")
        await asker.send("tool_result", "r1", execution_id="e9", status="completed")
        await asker.send("my_type", "m1", x=1)
        await hears_of(asker, "j1", "c1", "r1", "m1")
        assert await hears_nothing(other)
        assert (relay.numbers.routes["exact"], relay.numbers.routes["broadcast"]) == (4, 0)


async def test_what_waited_for_the_rate_limit_is_answered_to_its_sender_alone(
    stage: Stage,
) -> None:
    async with ScriptedUpstream(answer_each) as upstream:
        limits = LimitSettings(messages_per_second=50, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        asker, _ = await stage.greeted(relay.url)
        other, _ = await stage.greeted(relay.url)
        for number in range(3):
            await asker.send("my_type", f"m{number}", x=1)
        await hears_of(asker, "m0", "m1", "m2")
        assert await hears_nothing(other)


async def test_an_id_that_two_used_and_nobody_was_answered_for_is_no_ones(stage: Stage) -> None:
    async def answer_the_second(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.receive()
        await connection.send("notification", {"title": "whose?"}, reply_to="1")
        await connection.until_gone()

    async with ScriptedUpstream(answer_the_second) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        for peer in (first, second):
            await peer.send("session_join", "1", session_id="s")
        for peer in (first, second):
            assert (await peer.message("notification"))["payload"]["title"] == "whose?"


async def test_what_answers_nobody_is_for_all(stage: Stage) -> None:
    async def notify(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.send("notification", {"type": "info", "title": "hear hear"})
        await connection.until_gone()

    async with ScriptedUpstream(notify) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("collaborative_action", "m1", session_id="s", action="cursor_move")
        for peer in (first, second):
            assert (await peer.message("notification"))["payload"]["title"] == "hear hear"
        assert relay.numbers.routes["broadcast"] == 1


async def test_an_answer_whose_asker_has_gone_reaches_nobody_else(stage: Stage) -> None:
    answer = asyncio.Event()

    async def answer_late(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await answer.wait()
        await connection.send("chat_receive", {"content": "late"}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(answer_late) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        await first.socket.close()
        await until(lambda: relay.gauges().clients == 1)
        answer.set()
        await until(lambda: relay.numbers.routes["late"] == 1)
        assert await hears_nothing(second)


async def test_work_that_a_request_began_stays_with_its_asker(stage: Stage) -> None:
    """Once an answer named an execution, what names only that execution is the asker's."""

    async def work(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        working = {"status": "working", "task_id": "task_7", "progress": 0.1}
        await connection.send("status_update", working, reply_to=question["id"])
        await connection.send("status_update", {**working, "progress": 0.9})
        await connection.until_gone()

    async with ScriptedUpstream(work) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await second.send("chat_send", "m1", content="one")
        assert (await second.message("status_update"))["payload"]["progress"] == 0.1
        assert (await second.message("status_update"))["payload"]["progress"] == 0.9
        assert await hears_nothing(first)
        assert relay.numbers.routes["key"] == 1


async def test_two_that_use_the_same_message_id_each_get_their_own_answer(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url)
    first, _ = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url)
    for turn in range(3):
        await first.send("chat_send", "same", content=f"from first {turn}")
        await second.send("chat_send", "same", content=f"from second {turn}")
    for turn in range(3):
        for peer, name in ((first, "first"), (second, "second")):
            answer = await peer.message("chat_receive")
            assert f"from {name} {turn}" in answer["payload"]["content"]


async def name_all(connection: Connection) -> None:
    """Says in each answer what it answers; takes its time, and more questions meanwhile."""

    async def answer(asked: dict[str, Any]) -> None:
        await asyncio.sleep(0.4)
        said = {"content": asked["payload"]["content"]}
        await connection.send("chat_receive", said, reply_to=asked["id"])

    async with asyncio.TaskGroup() as answers:
        await connection.greet()
        while True:
            answers.create_task(answer(await connection.receive()))


async def with_an_id_under_way(stage: Stage, url: str) -> tuple[Relay, Peer, Peer]:
    """Two clients of a relay whose upstream names what it answers; the first has asked `same`."""
    relay = await open_relay(stage, url)
    first, _ = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url)
    await first.send("chat_send", "m0", content="the upstream names what it answers")
    await first.message("chat_receive")
    await first.send("chat_send", "same", content="first")
    await until(lambda: relay.numbers.messages_to_upstream == 2)
    return relay, first, second


async def test_what_waits_for_an_id_to_be_free_is_not_overtaken_by_its_own_client(
    stage: Stage,
) -> None:
    async with ScriptedUpstream(name_all) as upstream:
        relay, first, second = await with_an_id_under_way(stage, upstream.url)
        for number, message_id in enumerate(("same", "other", "another")):
            await second.send("chat_send", message_id, content=message_id)
            await until(lambda: relay.numbers.messages_to_upstream == 3 + number)  # noqa: B023
        heard = [await second.message("chat_receive") for _ in range(3)]
        assert [each["payload"]["content"] for each in heard] == ["same", "other", "another"]
        assert (await first.message("chat_receive"))["payload"]["content"] == "first"


async def test_an_id_is_anothers_also_while_that_waits_for_the_rate_limit(stage: Stage) -> None:
    async with ScriptedUpstream(name_all) as upstream:
        limits = LimitSettings(messages_per_second=5, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m0", content="the upstream names what it answers")
        await first.message("chat_receive")
        await first.send("chat_send", "m1", content="takes what the limit gives")
        await first.send("chat_send", "same", content="first")
        await until(lambda: relay.numbers.messages_to_upstream == 3)
        await second.send("chat_send", "same", content="second")
        heard = [await first.message("chat_receive") for _ in range(2)]
        assert heard[1]["payload"]["content"] == "first"
        assert (await second.message("chat_receive"))["payload"]["content"] == "second"


async def test_what_comes_in_one_read_for_one_and_for_all_keeps_its_order(stage: Stage) -> None:
    """Also where what is for all is no envelope, and clients are so many that they are a group."""

    async def answer_two(connection: Connection) -> None:
        await connection.greet()
        asked = [(await connection.receive())["id"]]
        await connection.send("chat_receive", {"content": "now we know"}, reply_to=asked[0])
        asked = [(await connection.receive())["id"] for _ in range(4)]
        texts = [
            json.dumps(enveloped("chat_receive", f"to {each}", content="x"))[:-1]
            + f', "metadata": {{"reply_to": "{each}"}}}}'
            for each in asked
        ]
        call = json.dumps(enveloped("tool_call", "call", execution_id="e"))
        texts = [texts[0], "for all", texts[1], "{}", texts[2], call, texts[3]]
        await connection.send_raw(b"".join(server_frame(text.encode()) for text in texts))
        await connection.until_gone()

    async with ScriptedUpstream(answer_two) as upstream:
        relay = await open_relay(stage, upstream.url)
        peers = [(await stage.greeted(relay.url))[0] for _ in range(WORTH_A_GROUP + 1)]
        await peers[0].send("chat_send", "m0", content="?")
        await peers[0].message("chat_receive")
        for number in range(4):
            await peers[0].send("chat_send", f"m{number + 1}", content="?")
        heard = [await peers[0].text() for _ in range(7)]
        assert [each.partition('"id": "')[2][:5] or each for each in heard] == [
            "to m1", "for all", "to m2", "{}", "to m3", 'call"', "to m4",
        ]  # fmt: skip
        for peer in peers[1:]:
            assert [await peer.text() for _ in range(2)] == ["for all", "{}"]
            assert (await peer.message())["id"] == "call"
