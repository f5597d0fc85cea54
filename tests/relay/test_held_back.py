"""Requests that wait for an answer to another: in turns, in order, and not for ever."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import LimitSettings
from megabot_cli.relay.held_back import HeldBack
from megabot_cli.relay.upstream_queue import Waiting
from tests.relay.conftest import Stage, enveloped, until
from tests.support.upstream import Connection, Keeping, ScriptedUpstream


def message(client: str, number: int, at: float = 0.0, kind: str = "chat_send") -> Waiting:
    return Waiting(client, f"{client}{number}", b"12345", False, at, kind)


def names(messages: list[Waiting]) -> list[str]:
    return [str(each.message_id) for each in messages]


def test_turns_are_taken_whoever_came_with_more() -> None:
    held = HeldBack()
    for number in range(3):
        held.add(message("a", number))
    held.add(message("b", 0))
    held.add(message("c", 0))
    assert names(held.take_all()) == ["a0", "b0", "c0", "a1", "a2"]


def test_whose_turn_it_was_is_remembered_when_one_goes_at_a_time() -> None:
    held = HeldBack()
    for number in range(2):
        for client in "ab":
            held.add(message(client, number))
    order = []
    while len(held):
        order.append(next(held.let_go(lambda waiting: True)))
    assert names(order) == ["a0", "b0", "a1", "b1"]


def test_one_that_may_not_go_holds_back_its_client_alone() -> None:
    held = HeldBack()
    held.add(message("a", 0, kind="tool_call"))
    held.add(message("a", 1))
    held.add(message("b", 0))
    gone = list(held.let_go(lambda waiting: waiting.kind != "tool_call"))
    assert names(gone) == ["b0"]
    assert (held.has_kind("tool_call"), held.of_client("a"), held.of_client("b")) == (True, 2, 0)


def test_the_oldest_expire() -> None:
    held = HeldBack()
    for number in range(4):
        held.add(message("a", number, at=float(number)))
    assert names(held.expire(2.0)) == ["a0", "a1"]
    assert (len(held), held.bytes) == (2, 10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_all_that_came_leaves_once_and_in_the_order_of_its_client(
    arrivals: list[tuple[str, bool]],
) -> None:
    held, left, count = HeldBack(), [], Counter[str]()
    for client, release in arrivals:
        held.add(message(client, count[client]))
        count[client] += 1
        if release:
            left += list(held.let_go(lambda waiting: waiting.client != "c"))
    left += held.take_all()
    assert (len(held), held.bytes, held.has_kind("chat_send")) == (0, 0, False)
    for client in "abc":
        mine = [name for name in names(left) if name.startswith(client)]
        assert mine == [f"{client}{number}" for number in range(count[client])]


def size_of(message_id: str, content: str) -> int:
    return len(json.dumps(enveloped("chat_send", message_id, content=content)))


@pytest.mark.parametrize(
    "bound",
    [
        {"wait_messages": 3},
        {"wait_bytes": size_of("second", "waits") + 2 * size_of("more0", "waits too")},
    ],
    ids=["messages", "bytes"],
)
async def test_what_is_held_back_while_the_upstream_is_away_is_answered_in_time_too(
    stage: Stage, bound: dict[str, Any]
) -> None:
    async def never_answers(connection: Connection) -> None:
        await connection.greet()
        await connection.until_gone()

    async with ScriptedUpstream(never_answers) as upstream:
        relay = await stage.open_relay(
            upstream.url, mode="shared", wait_s=1.0, heartbeat_s=5, **bound
        )
        peers = [(await stage.greeted(relay.url))[0] for _ in range(3)]
        await peers[0].send("chat_send", "first", content="holds the others back")
        await peers[1].send("chat_send", "second", content="waits")
        await upstream.stop()
        await peers[2].message("status_update")
        for number in range(4):
            await peers[2].send("chat_send", f"more{number}", content="waits too")
        errors = [await peers[2].message("connection_error") for _ in range(4)]
        assert {each["payload"]["code"] for each in errors} == {503}
        # Three may wait, of all clients together; the others hear it at once.
        told = [each["metadata"]["reply_to"] for each in errors]
        assert told == ["more2", "more3", "more0", "more1"]
        error = await peers[1].message("connection_error")
        assert (error["metadata"]["reply_to"], error["payload"]["code"]) == ("second", 503)


async def test_of_one_client_no_more_are_held_back_than_its_queue_may_have(stage: Stage) -> None:
    keeping = Keeping()
    async with ScriptedUpstream(keeping) as upstream:
        limits = LimitSettings(messages_per_second=0, queue=2)
        relay = await stage.open_relay(upstream.url, mode="shared", limits=limits)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m0", content="holds the others back")
        await until(lambda: keeping.got)
        for number in range(1, 5):
            await second.send("chat_send", f"m{number}", content="waits")
        for message_id in ("m3", "m4"):
            error = await second.message("connection_error")
            assert error["metadata"]["reply_to"] == message_id
            assert error["payload"]["code"] == 429
        assert relay.sessions[0].waiting == 2


@pytest.mark.parametrize("bound", [{"wait_s": 0.3}, {"wait_messages": 0}], ids="-".join)
async def test_what_waited_in_vain_holds_nobody_back(stage: Stage, bound: dict[str, Any]) -> None:
    """It never went up: no answer to it can be taken for another's."""
    keeping = Keeping()
    async with ScriptedUpstream(keeping) as upstream:
        relay = await stage.open_relay(upstream.url, mode="shared", **bound)
        first, _ = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url)
        await upstream.stop()
        await first.message("status_update")
        await first.send("chat_send", "m1", content="waits in vain")
        assert (await first.message("connection_error"))["metadata"]["reply_to"] == "m1"
        await upstream.start()
        await until(lambda: relay.sessions[0].link.up, 10.0)
        await second.send("chat_send", "m2", content="does not wait")
        await until(lambda: keeping.got)
        assert json.loads(keeping.got[0])["id"] == "m2"
