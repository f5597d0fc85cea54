"""`shared` mode: what a client sent in a batch or as gzip, and what came so, is its own too."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from megabot_cli.protocol.batching import wrap
from tests.relay.conftest import Stage, enveloped, hears_nothing, until
from tests.relay.test_shared import (
    answer_each,
    hears_of,
    name_all,
    open_relay,
    with_an_id_under_way,
)
from tests.relay.test_shared_unnamed import Unnamed
from tests.support.upstream import Connection, ScriptedUpstream, greet_and_wait


async def test_what_a_client_batched_is_answered_to_it_alone(stage: Stage) -> None:
    async with ScriptedUpstream(answer_each) as upstream:
        relay = await open_relay(stage, upstream.url)
        asker, _ = await stage.greeted(relay.url)
        other, _ = await stage.greeted(relay.url)
        for turn in ("a", "b"):  # at first it is not known that the upstream names requests
            questions = [enveloped("chat_send", f"{turn}{n}", content="?") for n in range(3)]
            await asker.send("batch", turn, messages=[*questions, enveloped("x", f"{turn}x", k=1)])
            await hears_of(asker, f"{turn}0", f"{turn}1", f"{turn}2", f"{turn}x")
        assert await hears_nothing(other)
        assert not relay.numbers.routes["broadcast"]


async def test_a_batch_goes_up_as_it_came_where_answers_name_their_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.session.RESUMED_GRACE_S", 0.4)
    monkeypatch.setattr("megabot_cli.relay.session.GRACE_CHECK_S", 0.05)
    texts: list[str | bytes] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await connection.send("chat_receive", {"content": "yes"}, reply_to=question["id"])
        texts.append(await connection.receive_text())
        await connection.send("chat_receive", {"content": "no"}, reply_to="q2")
        await connection.cut()

    async with ScriptedUpstream(keep) as upstream:
        relay = await open_relay(stage, upstream.url)
        asker, _ = await stage.greeted(relay.url)
        await asker.send("chat_send", "q0", content="named?")
        await asker.message("chat_receive")
        questions = [enveloped("chat_send", name, content="?") for name in ("q1", "q2")]
        text = json.dumps(enveloped("batch", "b", messages=questions), indent=1)
        await asker.socket.send_str(text)
        assert (await asker.message("chat_receive"))["metadata"]["reply_to"] == "q2"
        assert texts == [text]
        # What of it has no answer when the link falls is told, as of any request.
        upstream.script = greet_and_wait
        unknown = await asker.message("connection_error", limit_s=10)
        assert unknown["metadata"]["reply_to"] == "q1"
        assert unknown["payload"]["error"] == "delivery_unknown"


async def test_an_upstream_that_names_no_request_gets_those_of_a_batch_one_at_a_time(
    stage: Stage,
) -> None:
    script = Unnamed()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        questions = [enveloped("chat_send", name, content="?") for name in ("a1", "a2")]
        await first.send("batch", "b", messages=questions)
        await until(lambda: script.asked == ["a1"])
        await second.send("chat_send", "m2", content="two")
        for _ in range(3):
            script.may_answer.release()
        for name in ("a1", "a2"):
            assert (await first.message("chat_receive"))["payload"]["content"] == f"for {name}"
        assert (await second.message("chat_receive"))["payload"]["content"] == "for m2"
        assert await hears_nothing(first)


async def test_each_answer_in_a_batch_from_upstream_goes_to_its_asker_alone(stage: Stage) -> None:
    async def answer_both_at_once(connection: Connection) -> None:
        await connection.greet()
        replies: list[dict[str, object]] = []
        while len(replies) < 2:
            question = await connection.receive()
            reply = enveloped("status_update", f"to {question['id']}", status="working")
            replies.append({**reply, "metadata": {"reply_to": question["id"]}})
        await connection.send("batch", {"messages": [*replies, enveloped("x", "n1", k=1)]})
        await connection.until_gone()

    async with ScriptedUpstream(answer_both_at_once) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("session_join", "j1", session_id="s")
        await second.send("session_join", "j2", session_id="s")
        for peer, name in ((first, "to j1"), (second, "to j2")):
            assert [(await peer.message())["id"] for _ in range(2)] == [name, "n1"]
            assert await hears_nothing(peer, 0.05)


async def test_what_was_sent_as_gzip_is_answered_to_its_sender_alone(stage: Stage) -> None:
    async def answer_as_gzip(connection: Connection) -> None:
        await connection.greet()
        while True:
            data = await connection.receive_text()
            question = json.loads(gzip.decompress(data) if isinstance(data, bytes) else data)
            for each in question["payload"].get("messages", [question]):
                reply = enveloped("chat_receive", f"to {each['id']}", content="x" * 2000)
                reply["metadata"] = {"reply_to": each["id"]}
                await connection.send_bytes(gzip.compress(json.dumps(reply).encode()))

    async with ScriptedUpstream(answer_as_gzip) as upstream:
        relay = await open_relay(stage, upstream.url)
        asker, _ = await stage.greeted(relay.url)
        other, _ = await stage.greeted(relay.url)
        single = enveloped("chat_send", "q1", content="x" * 2000)
        batch = enveloped(
            "batch", "b", messages=[enveloped("chat_send", "q2", content="?"), single]
        )
        for message in (single, batch):
            await asker.socket.send_bytes(gzip.compress(json.dumps(message).encode()))
        for name in ("q1", "q2", "q1"):
            answer = json.loads(gzip.decompress(await asker.socket.receive_bytes(timeout=5)))
            assert answer["metadata"]["reply_to"] == name
        assert await hears_nothing(other)
        assert not relay.numbers.malformed_to_upstream


OVERLONG = '{"id":"b","type":"batch","payload":{"messages":[' + "1," * 400_000 + "1]}}"
_DEEP = enveloped("batch", "c", messages=[enveloped("batch", "d", messages=[1])])
TOO_DEEP = json.dumps(enveloped("batch", "b", messages=[_DEEP]))


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_batch_into_which_nobody_can_look_reaches_nobody_and_keeps_nobody_waiting(
    stage: Stage, mode: str
) -> None:
    """A call or an answer in it would reach those whom it is not for."""
    came: list[str | bytes] = []

    async def say_all(connection: Connection) -> None:
        await connection.greet()
        came.append(await connection.receive_text())
        for text in (OVERLONG, TOO_DEEP, OVERLONG):
            await connection.send_text(text)
        await connection.send("notification", {"title": "n"})
        await connection.until_gone()

    async with ScriptedUpstream(say_all) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        began = time.process_time()
        for text in (OVERLONG, TOO_DEEP, OVERLONG):
            await peer.socket.send_str(text)
            refusal = await peer.message()
            assert refusal["metadata"]["reply_to"] == "b"
            assert (refusal["payload"]["code"], refusal["payload"]["error"]) == (
                *(400, "invalid_message"),
            )
        await peer.send("session_join", "j", session_id="s")
        assert (await peer.message())["type"] == "notification"
        assert time.process_time() - began < 2.5
        assert [json.loads(text)["id"] for text in came] == ["j"]
        assert relay.numbers.drops["batch"] == 3


async def test_what_comes_in_one_read_behind_a_batch_does_not_overtake_what_was_in_it(
    stage: Stage,
) -> None:
    async with ScriptedUpstream(name_all) as upstream:
        relay, _, second = await with_an_id_under_way(stage, upstream.url)
        texts = {
            name: json.dumps(enveloped("chat_send", name, content=name))
            for name in ("same", "inner", "behind")
        }
        session = relay.sessions[0]
        read = [wrap([texts["same"], texts["inner"]], "b", 1.0), texts["behind"]]
        client = list(session.clients.values())[-1]
        session.sink(client)([each.encode() for each in read], False)
        heard = [await second.message("chat_receive") for _ in range(3)]
        assert [each["payload"]["content"] for each in heard] == ["same", "inner", "behind"]
