"""What an upstream says again after a resume reaches nobody a second time."""

from __future__ import annotations

import json

import pytest

from megabot_cli.relay.repeats import REPEATS_S, Repeats
from tests.relay.conftest import Stage
from tests.support.upstream import Connection, ScriptedUpstream


def text(name: str, said: str = "hello", kind: str = "notification", **more: object) -> bytes:
    return json.dumps({"id": name, "type": kind, "payload": {"message": said}, **more}).encode()


@pytest.mark.parametrize(
    ("again", "known"),
    [
        (text("m1"), True),
        (text("m1", timestamp=5), True),  # said again, at another time
        (text("m1", "other words"), False),
        (text("m1", kind="chat_stream"), False),
        (text("m2"), False),
        (text("m1", metadata={"reply_to": "q2"}), False),  # the same words to another question
        (text("m1", metadata={"trace": "x"}), True),
        (b"not json", False),
        (b'{"type": "pong"}', False),
    ],
)
def test_a_repeat_has_id_type_and_payload_of_a_message_that_came(again: bytes, known: bool) -> None:
    assert Repeats([text("m1", timestamp=1), b"not json"], 0.0).holds(again) is known


def test_each_message_is_known_again_once_and_not_for_ever() -> None:
    repeats = Repeats([text("m1"), text("m2")], 100.0)
    assert [repeats.holds(text("m1")) for _ in range(2)] == [True, False]
    assert not repeats.over(100.0 + REPEATS_S)
    assert repeats.over(100.0 + REPEATS_S + 1)
    assert repeats.holds(text("m2"))
    assert repeats.over(100.0)


@pytest.mark.parametrize("forgets", [False, True])
async def test_only_a_session_that_goes_on_can_repeat_itself(stage: Stage, forgets: bool) -> None:
    """A new session may say what the old one said: it is news."""
    seen = 0

    async def says_the_same_each_time(connection: Connection) -> None:
        nonlocal seen
        seen += 1
        await connection.greet("sess_new" if forgets and seen > 1 else None)
        if seen == 1:
            await connection.receive()  # somebody is there
        for number in range(3):
            message = {"id": f"n{number}", "type": "notification", "payload": {"n": number}}
            await connection.send_text(json.dumps(message))
        if seen == 1:
            await connection.receive()
            await connection.cut()
        await connection.send("notification", {"n": "fresh"})
        await connection.until_gone()

    async with ScriptedUpstream(says_the_same_each_time) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer = await stage.connect(relay.url)
        await peer.send("session_join", "j0", session_id="s")
        first = [(await peer.message("notification"))["payload"]["n"] for _ in range(3)]
        assert first == [0, 1, 2]
        await peer.send("session_join", "j1", session_id="s")
        again = [(await peer.message("notification"))["payload"]["n"]]
        while again[-1] != "fresh":
            again.append((await peer.message("notification"))["payload"]["n"])
        assert again == ([0, 1, 2, "fresh"] if forgets else ["fresh"])
        assert relay.numbers.drops["duplicate"] == (0 if forgets else 3)


async def test_the_same_answer_to_another_question_is_none(stage: Stage) -> None:
    async def counts_anew_on_each_connection(connection: Connection) -> None:
        await connection.greet()
        while True:
            asked = await connection.receive()
            await connection.send("chat_receive", {"content": "yes"}, reply_to=asked["id"])
            if asked["id"] == "q1":
                await connection.cut()

    async with ScriptedUpstream(counts_anew_on_each_connection) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        for question in ("q1", "q2"):
            await peer.send("chat_send", question, content="?")
            answer = await peer.message("chat_receive", 10)
            assert answer["metadata"]["reply_to"] == question
