"""`shared` mode: one link for all; an answer goes to the one that asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay import upward
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, hears_nothing, until
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
        for number, peer in enumerate(peers):
            await peer.send("chat_send", f"m{number}", content="x")
        await until(lambda: len(came_at) == 4, limit_s=10)
        assert came_at[1] - came_at[0] > 0.9
        assert came_at[3] - came_at[1] < 0.5


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


async def test_an_asker_that_comes_back_under_its_name_gets_its_answer(stage: Stage) -> None:
    answer = asyncio.Event()

    async def answer_late(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await answer.wait()
        await connection.send("chat_receive", {"content": "late"}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(answer_late) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url, client_id="ada")
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        await first.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        answer.set()
        await until(lambda: relay.numbers.messages_to_client >= 1)
        again = await stage.connect(relay.url, query={"client_id": "ada"})
        greeting = await again.message("connection_established")
        assert greeting["metadata"]["megabot"]["recovered"] is True
        assert (await again.message())["payload"]["content"] == "late"
        other = await stage.connect(relay.url, query={"cursor": "epoch:0"})
        await other.message("connection_established")
        assert await hears_nothing(other)


class Slow:
    """An upstream that answers, and tells everybody something, when it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            question = await connection.receive()
            await self.may_answer.acquire()
            await connection.send("chat_receive", {"content": "x"}, reply_to=question["id"])
            await connection.send("notification", {"title": question["id"]})


async def marked(stage: Stage, relay: Relay, **query: str) -> tuple[Peer, dict[str, Any]]:
    """A client that reads the corner, and what its greeting says there."""
    peer = await stage.connect(relay.url, query=query, protocols=("megabot.relay.v1",))
    greeting = await peer.message("connection_established")
    corner: dict[str, Any] = greeting["metadata"]["megabot"]
    return peer, corner


async def test_a_cursor_alone_tells_nobody_whose_answers_were_missed(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, corner = await marked(stage, relay)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        await first.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        script.may_answer.release()
        await until(lambda: relay.numbers.messages_to_client == 2)
        again, verdict = await marked(stage, relay, cursor=corner["cursor"])
        assert (verdict["recovered"], verdict["reason"]) == (False, "unknown")
        after = (await again.message("notification"))["metadata"]["megabot"]["cursor"]
        _, verdict = await marked(stage, relay, cursor=after)
        assert verdict["recovered"] is True


async def test_what_was_for_clients_with_a_name_is_no_loss_of_one_without(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, corner = await marked(stage, relay)
        named, _ = await marked(stage, relay, client_id="ada")
        await named.send("chat_send", "m1", content="one")
        script.may_answer.release()
        await named.message("notification")
        await first.socket.close()
        await named.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        again, verdict = await marked(stage, relay, cursor=corner["cursor"])
        assert verdict["recovered"] is True
        assert (await again.message())["type"] == "notification"


async def test_a_client_that_was_closed_with_a_cursor_goes_on_by_it_as_itself(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await marked(stage, relay)
        for name in ("m1", "m2"):
            await first.send("chat_send", name, content="x")
        await until(lambda: relay.numbers.messages_to_upstream == 2)
        relay.local_clients[0].fell_silent()
        closing = await first.socket.receive()
        assert closing.type.name == "CLOSE"
        cursor = str(closing.extra).split()[0].removeprefix("cursor=")
        await until(lambda: relay.gauges().clients == 0)
        script.may_answer.release()
        await until(lambda: relay.numbers.messages_to_client == 2)
        again, verdict = await marked(stage, relay, cursor=cursor)
        assert verdict["recovered"] is True
        assert (await again.message())["metadata"]["reply_to"] == "m1"
        other, verdict = await marked(stage, relay, cursor=cursor.partition("@")[0])
        assert verdict["reason"] == "unknown"
        await other.message("notification")
        script.may_answer.release()
        await again.message("notification")
        assert (await again.message())["metadata"]["reply_to"] == "m2"
        assert (await other.message())["type"] == "notification"


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


async def test_nobody_but_the_relay_speaks_in_its_corner(stage: Stage) -> None:
    seen: list[str | bytes] = []

    async def look(connection: Connection) -> None:
        await connection.greet()
        seen.append(await connection.receive_text())
        await connection.send("notification", {"title": "x"}, megabot={"read_only": True}, k=1)
        await connection.until_gone()

    async with ScriptedUpstream(look) as upstream:
        relay = await open_relay(stage, upstream.url)
        plain, _ = await stage.greeted(relay.url)
        marked = await stage.connect(relay.url, protocols=("megabot.relay.v1",))
        greeting = await marked.message("connection_established")
        cursor = greeting["metadata"]["megabot"]["cursor"]
        text = (
            '{"id":"m1","type":"x","payload":{"n": 1.0},"metadata":{"megabot":{"cursor":"mine"}}}'
        )
        await plain.socket.send_str(text)
        notification = await plain.message("notification")
        assert json.loads(seen[0]) == {"id": "m1", "type": "x", "payload": {"n": 1.0}}
        assert notification["metadata"] == {"k": 1}
        metadata = (await marked.message("notification"))["metadata"]
        epoch, _, seq = cursor.partition(":")
        assert metadata == {"k": 1, "megabot": {"cursor": f"{epoch}:{int(seq) + 1}"}}


@pytest.mark.parametrize("mode", ["session", "shared"])
@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param(
            '{"type":"x","payload":1,"metadata":{"megabot":{"read_only":true},"k":1}}',
            '{"type":"x","payload":1,"metadata":{"k":1}}',
            id="no id",
        ),
        pytest.param('{"metadata":{"megabot":1},"x":1.0}', '{"x":1.0}', id="no type"),
        pytest.param(
            '{"id":"b","type":"batch","payload":{"messages":'
            '[{"id":"m1","type":"x","payload":1,"metadata":{"megabot":1}}]}}',
            '{"id":"b","type":"batch","payload":{"messages":[{"id":"m1","type":"x","payload":1}]}}',
            id="in a batch",
        ),
    ],
)
async def test_nobody_speaks_in_it_where_there_is_no_envelope_or_one_within_another(
    stage: Stage, mode: str, text: str, cleaned: str
) -> None:
    seen: list[str | bytes] = []

    async def look(connection: Connection) -> None:
        await connection.greet()
        seen.append(await connection.receive_text())
        await connection.send_text(text)
        await connection.until_gone()

    async with ScriptedUpstream(look) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        plain, _ = await stage.greeted(relay.url)
        await plain.socket.send_str(text)
        inner = json.loads(cleaned).get("payload")
        apart = mode == "shared" and isinstance(inner, dict)  # each message is for its asker
        came = await plain.text()
        assert came == cleaned if not apart else json.loads(came) == inner["messages"][0]
        assert seen == [cleaned]


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_the_same_name_twice_replaces_the_first(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    first, session = await stage.greeted(relay.url, client_id="ada")
    second, _ = await stage.greeted(relay.url, session, client_id="ada")
    assert await first.close_code() == 4503
    await second.send("chat_send", "m1", content="still here")
    assert await second.message("chat_receive")


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
        async with asyncio.timeout(3):
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
